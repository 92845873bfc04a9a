"""What the documents name of the code: `path.py`, `path.py::Name`, `path.py::Class.method`.

A path is below the root of the repository, or below `fanout/`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_NAMED: Final = re.compile(r"`([\w./-]+/[\w./-]+\.(?:py|patch|js|toml))(?:::([\w.]+))?`")


def named_in(text: str) -> list[tuple[str, str]]:
    """Each file that is named, and the name in it; the name is empty if it is only the file."""
    return [(path, name) for path, name in _NAMED.findall(text)]


def file_of(path: str) -> Path | None:
    """The file that a document means by `path`, if it exists."""
    return next((file for file in (ROOT / path, ROOT / "fanout" / path) if file.is_file()), None)


def is_there(path: str, name: str) -> bool:
    """Whether the file exists and defines the name."""
    file = file_of(path)
    return file is not None and (not name or name in _defined_in(file))


@cache
def _defined_in(file: Path) -> frozenset[str]:
    return frozenset(_names(ast.parse(file.read_text("utf-8")).body, ""))


def _names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
                if isinstance(node, ast.ClassDef):
                    yield from _names(node.body, f"{prefix}{name}.")
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield prefix + name
            case ast.Try(body=inner) | ast.If(body=inner):
                yield from _names(inner, prefix)
