"""A mutant in the place of what was imported, or of what is imported next."""

from __future__ import annotations

import gc
import importlib.abc
import importlib.machinery
import importlib.util
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Final

from tests.mutation.rooms import Room

_CO_OPTIMIZED: Final = 1  # a function's code, not a class's or a module's


class MutatedImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a text, and nothing else."""

    def __init__(self, path: str, source: str) -> None:
        self._path = path
        self._source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != module_of(self._path):
            return None
        is_package = self._path.endswith("__init__.py")
        origin = str(Path(self._path).resolve())
        spec = importlib.util.spec_from_loader(fullname, self, origin=origin, is_package=is_package)
        if spec is not None and is_package:
            spec.submodule_search_locations = [str(Path(origin).parent)]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(Path(self._path).resolve())
        exec(compile(self._source, module.__file__, "exec", dont_inherit=True), module.__dict__)


Functions = dict[tuple[str, str, int], list[FunctionType]]  # by path, qualified name, first line


def functions_of(room: Room) -> Functions:
    paths = {str(Path(path).resolve()): path for path in room.paths()}
    functions: Functions = defaultdict(list)
    gc.unfreeze()  # what is frozen is not among the objects
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and (path := paths.get(each.__code__.co_filename)):
            functions[path, each.__code__.co_qualname, each.__code__.co_firstlineno].append(each)
    return functions


def replace_functions(path: str, source: str, functions: Functions) -> bool:
    """Give every function that differs its mutated code; whether that was possible."""
    name = str(Path(path).resolve())
    before, after = (
        list(_outermost(compile(text, name, "exec", dont_inherit=True)))
        for text in (Path(path).read_text("utf-8"), source)
    )
    if len(before) != len(after):
        return False
    differing = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    for old, new in differing:
        found = functions.get((path, old.co_qualname, old.co_firstlineno))
        if not found or old.co_freevars != new.co_freevars:
            return False
        for function in found:
            function.__code__ = new
    return bool(differing)


def _outermost(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & _CO_OPTIMIZED:
                yield constant
            else:
                yield from _outermost(constant)


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
