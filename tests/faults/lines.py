"""An exception at every line: no memory, in the middle of anything, as the strongest form of "it may fail".

Points are the lines of `PARTS` that one situation runs through and that allocate: those that call, await,
compute or make something. Python's trace function reports them, and what it raises is raised there.

Left out are lines at which nobody could do anything: the header of a `with` block, and `reschedule`, because
Trio does not survive a nursery that is not left or a task that is not woken; the guard, because something has
to be the last; and the start, the drain and the background tasks of the server, which are no connection's.
*Clean-up* are the lines within `except` and `finally`, and the functions that only give back or close: when
that fails as well, the server lives, and no more is asked.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, NamedTuple

import fanout
from tests.faults.calls import Act, Point
from tests.faults.situations import Situation
from tests.faults.stage import Stage
from tests.faults.sweep import Fault, Net

_ROOT: Final = Path(fanout.__file__).parent
DRIVER: Final = "server"
UPSTREAM: Final = "upstream"
PARTS: Final = (DRIVER, UPSTREAM)
_FOLDERS: Final = tuple(str(_ROOT / part) for part in PARTS)
CLEAN_UP: Final = frozenset(
    {
        *("close", "abort", "_reset", "forget", "_forget", "_finish", "how_it_ended", "too_slow"),
        *("give_back", "_drop", "_close_idle", "shut_down", "stop", "_stop", "report", "_on_bug"),
    }
)
SERVERS_OWN: Final = frozenset(
    {
        *("serve", "_accept", "accept_connections", "shutdown_and_drain", "drain", "_close_expired"),
        *("_close_ended", "_keep", "__exit__", "Driver.run"),
    }
)
_ALLOCATING: Final = (
    *(ast.Call, ast.Await, ast.BinOp, ast.AugAssign, ast.JoinedStr, ast.List, ast.Dict, ast.Set, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
Trace = Callable[[FrameType, str, Any], Any]


class Lines:
    """While it is entered: numbers the lines that are run, and calls `act` at each, as `Calls` does."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self._reached = 0

    def __enter__(self) -> Lines:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Trace | None:
        return self._line if frame.f_code.co_filename.startswith(_FOLDERS) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Trace:
        line = frame.f_lineno
        of_file = lines_of(frame.f_code.co_filename)
        if event == "line" and line in of_file.allocating:
            clients = _clients(frame)
            if not clients & SERVERS_OWN:
                self._reached += 1
                is_clean_up = line in of_file.cleaning_up or clients & CLEAN_UP
                where = f"{Path(frame.f_code.co_filename).relative_to(_ROOT)}:{line}"
                error = self._act(self._reached, Point("clean-up" if is_clean_up else "a line", where))
                if error is not None:
                    raise error
        return self._line


def _clients(frame: FrameType | None) -> set[str]:
    """The names of the functions that are running, within the event loop."""
    names: set[str] = set()
    while frame is not None and frame.f_code.co_name != "unrolled_run":
        names |= {frame.f_code.co_name, frame.f_code.co_qualname}
        frame = frame.f_back
    return names


class _LinesOf(NamedTuple):
    allocating: frozenset[int]
    cleaning_up: frozenset[int]


@cache
def lines_of(filename: str) -> _LinesOf:
    """The lines of a file that allocate, and those within `except` and `finally`."""
    allocating: set[int] = set()
    cleaning_up: set[int] = set()
    trios: set[int] = set()
    for node in ast.walk(ast.parse(Path(filename).read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".reschedule"):
            trios.add(node.lineno)
        elif isinstance(node, ast.expr | ast.stmt) and isinstance(node, _ALLOCATING):
            allocating.add(node.lineno)
        elif isinstance(node, ast.With | ast.AsyncWith):
            trios.add(node.lineno)
        elif isinstance(node, ast.Try | ast.TryStar):
            parts: list[ast.ExceptHandler | ast.stmt] = [*node.handlers, *node.finalbody]
            for part in parts:
                cleaning_up.update(range(part.lineno, (part.end_lineno or part.lineno) + 1))
    return _LinesOf(frozenset(allocating - trios), frozenset(cleaning_up))


def out_of_memory(
    situation: Situation, points: list[Point], *, parts: tuple[str, ...] = PARTS
) -> Iterator[Fault]:
    """`MemoryError` at each line of these parts, the first and the last time that it is run."""
    reached: dict[str, list[int]] = {}
    for at, point in enumerate(points, 1):
        if point.where.startswith(parts):
            reached.setdefault(point.where, []).append(at)
    for times in reached.values():
        for at in sorted({times[0], times[-1]}):
            yield _no_memory(at)


def _no_memory(at: int) -> Fault:
    def do(stage: Stage) -> MemoryError:
        return MemoryError("injected")

    return Fault(
        "no memory",
        at,
        do,
        wait_s=(1.0, 30.0, 75.0),
        client_lives=True,
        allowed=frozenset({500, 503}),
        may_end=True,
        is_a_bug=True,
        may_leak=lambda point: point is not None and point.name == "clean-up",
    )


OUT_OF_MEMORY: Final = Net(out_of_memory, Lines)
IN_THE_DRIVER: Final = Net(partial(out_of_memory, parts=(DRIVER,)), Lines)
