"""A breakage in memory: the modules that it changes are compiled from their patched text, in this process.

Rule 1: nothing is written, and no `__pycache__` is read or written for these modules.
Rule 2: a breakage applies as a whole or not at all, before any of its modules is imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final

import fanout
from fanout.testing.breakages.patches import Breakage, DoesNotApply, files_of, patched

_ROOT: Final = Path(fanout.__file__).parents[1]  # the project's, or the folder that fanout is installed in
_OUT_OF_REACH: Final = "fanout.process.workers"  # it starts processes that import fanout on their own


class ImportedAlready(RuntimeError):
    """A module that the breakage changes was imported before it."""


class OutOfReach(SystemExit):
    """The program starts other processes, which would not have the breakage."""


def install(breakage: Breakage) -> None:
    """From here on, this process imports fanout with the breakage.

    Raises `DoesNotApply` or `ImportedAlready`; then nothing has changed.
    """
    broken = broken_modules(breakage)
    imported = sorted(broken.keys() & sys.modules.keys())
    if imported:
        raise ImportedAlready(f"{imported[0]} is imported already")
    sys.meta_path.insert(0, Finder(broken))


def is_installed() -> bool:
    """Whether this process has a breakage. Processes that it spawns have none."""
    return any(isinstance(finder, Finder) for finder in sys.meta_path)


def broken_modules(breakage: Breakage) -> dict[str, Broken]:
    """The modules that it changes, by name, each with the text that it is to be loaded from.

    Raises `DoesNotApply`.
    """
    broken = {}
    for name, hunks in files_of(breakage.diff):
        path = _ROOT / name
        try:
            source = path.read_text("utf-8")
        except OSError as error:
            raise DoesNotApply(f"{name} cannot be read: {error.strerror}") from None
        broken[_module_of(name)] = Broken(path, patched(name, source, hunks))
    return broken


def _module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class Broken(importlib.abc.ExecutionLoader):
    """Loads a module from a text that is not the text of its file. The base class knows no `__pycache__`."""

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source

    def get_filename(self, fullname: str) -> str:
        return str(self._path)

    def get_source(self, fullname: str) -> str:
        return self._source

    def is_package(self, fullname: str) -> bool:
        return self._path.name == "__init__.py"


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, broken: Mapping[str, Broken]) -> None:
        self._broken = broken

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == _OUT_OF_REACH:
            raise OutOfReach
        if fullname not in self._broken:
            return None
        return importlib.util.spec_from_loader(fullname, self._broken[fullname])
