"""The whole matrix: its sections, measured one after the other, and the versions of what was compared.

A section is a module with `ROW_NAMES`, and `section()`, which may take `rows` and `names` to measure less.
"""

from __future__ import annotations

import importlib
import inspect
import platform
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import FrameType, ModuleType
from typing import Final

from fanout.lab.side_by_side.calls import leaves_of
from fanout.lab.side_by_side.cells import Matrix, Section
from fanout.process.exits import SIGNALLED

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
BY_VARIANT: Final = ("tasks", "wire")  # whose columns are modules of `variants`
_COMPARED: Final = ("trio", "anyio", "httpx", "httpcore", "aiohttp", "trio-asyncio")


def measure() -> Matrix:
    """Measure all sections. Raises what their processes raise."""
    return Matrix(versions(), tuple(map(section, SECTIONS)))


def section(name: str, rows: Sequence[str] = (), variants: Sequence[str] = ()) -> Section:
    """Measure these rows and variants of a section, or all. It may measure more: some cannot be divided.

    variants: by the names of their modules.
    """
    measure_it = _module(name).section
    wanted = {"rows": rows, "names": variants if name in BY_VARIANT else ()}
    takes = inspect.signature(measure_it).parameters
    with _ended_by_signals():
        measured = measure_it(**{key: value for key, value in wanted.items() if value and key in takes})
    assert isinstance(measured, Section)
    return measured


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A signal first ends every process that the block has started, and then this one, with its exit code."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = [signal.SIGINT]

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.insert(0, signal.Signals(number))
        signal.raise_signal(signal.SIGINT)

    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: interrupt,
        signal.SIGHUP: interrupt,
    }
    before = {
        number: signal.signal(number, handler)
        for number, handler in handlers.items()
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN  # `nohup`
    }
    try:
        yield
    except BaseException as error:  # from a nursery it comes in a group
        if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves_of(error)):
            raise SystemExit(SIGNALLED + came[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def row_names(name: str) -> tuple[str, ...]:
    """The names of a section's rows, without measuring it."""
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
