"""Deliberate breakages: unified diffs against `fanout/`, each with a head that says what it breaks.

Rule: a hunk fits where its lines stand, exactly and once, whatever the line numbers. So a patch survives
      changes elsewhere in the file, cannot land in the wrong place, and needs neither git nor patch.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TREE: Final = Path(__file__).parents[2]
_FILE: Final = re.compile(r"^--- a/(\S+)\n\+\+\+ b/\1\n", re.MULTILINE)
_HUNK: Final = re.compile(r"^@@ .*\n", re.MULTILINE)
_PARTS: Final = ("fanout", "tests", "setup.cfg", "pyproject.toml")  # what tests need


class DoesNotApply(ValueError):
    """The code that a patch would break has changed: write it anew."""


@dataclass(frozen=True, slots=True)
class Breakage:
    """guarantees: the G-ids that it breaks. tests: those of its room, as paths for pytest."""

    name: str
    title: str
    guarantees: str
    tests: tuple[str, ...]
    diff: str


def breakages() -> list[Breakage]:
    """All of them, in the order of their file names."""
    return [_read(path) for path in sorted(Path(__file__).parent.glob("*.patch"))]


def _read(path: Path) -> Breakage:
    head, _, diff = path.read_text("utf-8").partition("--- a/")
    title, guarantees, tests = head.strip().split("\n")
    return Breakage(
        path.stem,
        title,
        guarantees.removeprefix("Breaks: "),
        tuple(tests.removeprefix("Tests: ").split()),
        "--- a/" + diff,
    )


def copy_of_tree(folder: Path) -> Path:
    """A copy to break, in `folder`."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    for part in _PARTS:
        source = TREE / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=ignore)
        else:
            shutil.copy(source, folder / part)
    return folder


def apply(diff: str, tree: Path) -> list[Path]:
    """Apply a patch to the files of `tree`, and return these. Raises `DoesNotApply`."""
    changed = []
    for name, hunks in _files(diff):
        path = tree / name
        text = path.read_text("utf-8") if path.exists() else ""
        for before, after in hunks:
            if text.count(before) != 1:
                raise DoesNotApply(f"{name} has this {text.count(before)} times:\n{before}")
            text = text.replace(before, after)
        path.write_text(text, "utf-8")
        changed.append(path)
    return changed


def _files(diff: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    _, *parts = _FILE.split(diff)
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        yield name, [_sides(hunk) for hunk in _HUNK.split(text)[1:]]


def _sides(hunk: str) -> tuple[str, str]:
    """The lines before and after."""
    lines = hunk.splitlines(keepends=True)
    before = [line[1:] or "\n" for line in lines if line[0] in " -\n"]
    after = [line[1:] or "\n" for line in lines if line[0] in " +\n"]
    return "".join(before), "".join(after)
