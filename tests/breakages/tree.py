"""A copy of the project to break. Tests that look at a broken program in memory use the hook instead."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from fanout.testing.breakages.patches import files_of, patched

TREE: Final = Path(__file__).parents[2]
_PARTS: Final = ("fanout", "tests", "setup.cfg", "pyproject.toml")  # what tests need


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


def apply(diff: str, tree: Path) -> None:
    """Apply a patch to the files of `tree`. Raises `DoesNotApply`."""
    for name, hunks in files_of(diff):
        path = tree / name
        path.write_text(patched(name, path.read_text("utf-8"), hunks), "utf-8")
