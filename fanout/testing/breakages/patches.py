"""The patches next to this file: unified diffs, each with a head that says what it breaks.

Rule: a hunk fits where its lines stand, exactly and once, whatever the line numbers. So a patch survives
      changes elsewhere in the file, cannot land in the wrong place, and needs neither git nor patch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent
_FILE: Final = re.compile(r"^--- a/(\S+)\n\+\+\+ b/\1\n", re.MULTILINE)
_HUNK: Final = re.compile(r"^@@ .*\n", re.MULTILINE)
_LATE: Final = " (late)"
LAYERS: Final = ("unit", "sweep", "simulation", "prove", "lab")  # of tests, in the order of their cost

Hunk = tuple[str, str]
"""The lines before, and the lines after."""


class DoesNotApply(ValueError):
    """The code that a patch would break has changed. The patch has to be written again."""


@dataclass(frozen=True, slots=True)
class Breakage:
    """guarantees: the G-ids that it breaks. tests: those that must notice it, as paths for pytest.
    caught_by: the `LAYERS` that must notice it. late: those of them that take long to do so.
    """

    name: str
    title: str
    guarantees: tuple[str, ...]
    tests: tuple[str, ...]
    caught_by: tuple[str, ...]
    late: tuple[str, ...]
    diff: str


@cache
def breakages() -> dict[str, Breakage]:
    """All of them by name, which is that of the file without its ending, in this order."""
    return {path.stem: read(path) for path in sorted(_FOLDER.glob("*.patch"))}


def read(path: Path) -> Breakage:
    head, _, diff = path.read_text("utf-8").partition("--- a/")
    title, guarantees, tests, caught_by = head.strip().split("\n")
    layers = caught_by.removeprefix("Caught by: ").split(", ")
    return Breakage(
        path.stem,
        title,
        tuple(guarantees.removeprefix("Breaks: ").split(", ")),
        tuple(tests.removeprefix("Tests: ").split()),
        tuple(layer.removesuffix(_LATE) for layer in layers),
        tuple(layer.removesuffix(_LATE) for layer in layers if layer.endswith(_LATE)),
        "--- a/" + diff,
    )


def files_of(diff: str) -> Iterator[tuple[str, list[Hunk]]]:
    """The files that it changes, as paths from the project's root such as `fanout/race/race.py`."""
    _, *parts = _FILE.split(diff)
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        yield name, [_sides(hunk) for hunk in _HUNK.split(text)[1:]]


def patched(name: str, text: str, hunks: Iterable[Hunk]) -> str:
    """The text of a file after a patch. name: of the file, for the error. Raises `DoesNotApply`."""
    for before, after in hunks:
        if text.count(before) != 1:
            raise DoesNotApply(f"{name} has these lines {text.count(before)} times, not once:\n{before}")
        text = text.replace(before, after)
    return text


def _sides(hunk: str) -> Hunk:
    lines = hunk.splitlines(keepends=True)
    before = [line[1:] or "\n" for line in lines if line[0] in " -\n"]
    after = [line[1:] or "\n" for line in lines if line[0] in " +\n"]
    return "".join(before), "".join(after)
