"""All that a verdict follows from: what a room's process imports, also in a function; settings; the tool."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

from tests.mutation.rooms import Room

_OURS: Final = ("fanout", "tests")
_FOR_ALL: Final = (  # the libraries, pytest's settings, and what judges
    "requirements-dev.lock",
    "setup.cfg",
    *(f"tests/mutation/{name}.py" for name in ("measured", "mutants", "replace", "rooms", "session")),
)


def code_digest(room: Room) -> str:
    """Of what the room's tests import, without these tests; one that another imports is part of it."""
    tests = {*room.test_files()}
    code = {*room.paths()}
    for test in tests:
        code |= _imported(test) | _conftests(test)
    reached: set[str] = set()
    while code:
        reached |= code
        code = {each for path in code for each in _imported(path)} - reached
    return digest_of(map(Path, sorted({*reached, *_FOR_ALL})))


def digest_of(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _conftests(test: str) -> set[str]:
    return {str(found) for folder in Path(test).parents if (found := folder / "conftest.py").exists()}


@cache
def _imported(path: str) -> frozenset[str]:
    """The files of our own that this one imports, wherever it does."""
    return frozenset(file for name in _names(Path(path)) for file in _files(name))


def _names(path: Path) -> Iterator[str]:
    """Of modules, and of names in them."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                module = [*path.parts[: -node.level], node.module] if node.level else [node.module]
                yield from (".".join(filter(None, [*module, alias.name])) for alias in node.names)
            case ast.Call(func=ast.Name("import_module"), args=[ast.Constant(value=str(name))]):
                yield name


def _files(name: str) -> Iterator[str]:
    """Of a module, or of a name in one, and of the packages around it."""
    parts = name.split(".")
    if parts[0] not in _OURS:
        return
    for end in range(1, len(parts) + 1):
        base = "/".join(parts[:end])
        yield from (file for file in (f"{base}.py", f"{base}/__init__.py") if Path(file).exists())
