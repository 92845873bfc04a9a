"""The whole matrix: its sections, measured one after the other, and the versions of what was compared.

A section is a module with `section()`, and `ROW_NAMES`, so that it need not be measured to know its rows.
"""

from __future__ import annotations

import importlib
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import Final

from fanout.lab.side_by_side.cells import Matrix, Section

_PACKAGE: Final = "fanout.lab.side_by_side"
# By the name of a section, its module. What needs no socket comes first.
SECTIONS: Final = {
    name: module
    for name, module in (
        ("tasks", "tasks"),
        ("wire", "wire"),
        ("slots", "slots"),
        ("one moment", "one_moment"),
    )
    if find_spec(f"{_PACKAGE}.{module}")
}
_COMPARED: Final = ("trio", "anyio", "httpx", "httpcore", "aiohttp", "trio-asyncio")


def measure() -> Matrix:
    """Everything. Raises what the processes of its sections raise."""
    return Matrix(versions(), tuple(map(section, SECTIONS)))


def section(name: str) -> Section:
    measured = _module(name).section()
    assert isinstance(measured, Section)
    return measured


def row_names(name: str) -> tuple[str, ...]:
    """Of a section, without measuring it."""
    return tuple(_module(name).ROW_NAMES)


def versions() -> dict[str, str]:
    """Of Python, and of each library that is compared."""
    found = {"Python": platform.python_version()}
    for name in _COMPARED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{_PACKAGE}.{SECTIONS[name]}")
