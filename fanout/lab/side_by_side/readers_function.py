"""The reader's function that `fanout lab --try FILE.py:FUNCTION` runs: found, imported, checked."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

YOURS: Final = "yours"
_SHAPE: Final = "async def {name}(calls, timeout)"


class NotUsable(ValueError):
    """One line that says why the function cannot be run, and what to do."""


@dataclass(frozen=True, slots=True)
class ReadersFunction:
    """file: its absolute path. runtime: trio if the file imports Trio, asyncio otherwise."""

    file: str
    function: str
    runtime: Literal["asyncio", "trio"]

    @property
    def endpoint(self) -> str:
        return "all" if self.function.startswith("all") else "first"

    @property
    def source(self) -> str:
        return Path(self.file).read_text(errors="replace")


def find(target: str) -> ReadersFunction:
    """Find FILE.py:FUNCTION without running any of its code. Raises `NotUsable`."""
    name, colon, function = target.rpartition(":")
    if not colon or not name or not function.isidentifier():
        raise NotUsable(f"{target!r} is not FILE.py:FUNCTION, such as mine.py:first")
    file = Path(name)
    try:
        tree = ast.parse(file.read_bytes(), name)
    except OSError as error:
        raise NotUsable(f"{name} cannot be read: {error.strerror}") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise NotUsable(f"{name}{f', line {line}' if line else ''}: {getattr(error, 'msg', error)}") from None
    imported = {each.partition(".")[0] for node in ast.walk(tree) for each in _imports(node)}
    return ReadersFunction(str(file.resolve()), function, "trio" if "trio" in imported else "asyncio")


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []


def load(readers: ReadersFunction) -> Any:
    """Import its file, which runs it. Raises `NotUsable`."""
    file = Path(readers.file)
    sys.path.insert(0, str(file.parent))  # as for a script, so that it finds its neighbours
    name = f"try_{file.stem}"  # the name alone may be that of a library
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise NotUsable(f"{file.name} is not a Python file: its name has to end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a reader's, SystemExit included
        raise NotUsable(f"{_place(error, file)}: {_words(error)}, as the file is imported") from None
    return _checked(module, readers.function, file)


def _checked(module: ModuleType, name: str, file: Path) -> Any:
    function = getattr(module, name, None)
    shape = _SHAPE.format(name=name)
    if function is None:
        others = [each for each, value in vars(module).items() if inspect.iscoroutinefunction(value)]
        raise NotUsable(f"{file.name} has no function {name}: it has {', '.join(others) or 'no `async def`'}")
    if not inspect.iscoroutinefunction(function):
        raise NotUsable(f"{name} in {file.name} is no coroutine function: write `{shape}`")
    try:
        inspect.signature(function).bind([], 1.0)
    except TypeError as error:
        raise NotUsable(
            f"{name} in {file.name} cannot be called with two arguments ({error}): write `{shape}`"
        ) from None
    return function


def _place(error: BaseException, file: Path) -> str:
    """The innermost line of their file."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return f"{file.name}, line {lines[-1]}" if lines else file.name


def _words(error: BaseException) -> str:
    return " ".join("".join(traceback.format_exception_only(error)).split())
