"""An exception at every line: no memory, in the middle of anything, as the strongest form of "it may fail".

Points are the lines of `PARTS` that one situation runs through and that allocate (those that call, await,
compute or make something). Python's trace function reports them, and what it raises is raised there. A line
within an `except` or a `finally`, or of a function that only cleans up, is *clean-up*: when that fails as
well there is nothing left that could put things right, so less is asked of it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

import fanout
from tests.faults.calls import Act, Point
from tests.faults.situations import Situation
from tests.faults.stage import Stage
from tests.faults.sweep import Fault, Net

_ROOT: Final = Path(fanout.__file__).parent
PARTS: Final = (str(_ROOT / "web" / "driver"), str(_ROOT / "upstream"))
# Functions that give back, close or count what has ended, and what these call.
CLEAN_UP: Final = frozenset(
    {
        *(
            "close",
            "abort",
            "_reset",
            "forget",
            "_forget",
            "unwatch",
            "_finish",
            "_close_below",
            "how_it_ended",
        ),
        *("give_back", "_drop", "_close_idle", "close_expired", "shut_down", "stop", "__exit__", "report"),
        *("_on_bug", "too_slow"),
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
        return self._line if frame.f_code.co_filename.startswith(PARTS) else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Trace:
        code, line = frame.f_code, frame.f_lineno
        allocating, cleaning_up = lines_of(code.co_filename)
        if event == "line" and line in allocating:
            self._reached += 1
            is_clean_up = code.co_name in CLEAN_UP or line in cleaning_up
            name = "clean-up" if is_clean_up else "a line"
            error = self._act(self._reached, Point(name, f"{Path(code.co_filename).name}:{line}"))
            if error is not None:
                raise error
        return self._line


@cache
def lines_of(filename: str) -> tuple[frozenset[int], frozenset[int]]:
    """The lines that allocate, and those within `except` and `finally`."""
    allocating: set[int] = set()
    cleaning_up: set[int] = set()
    for node in ast.walk(ast.parse(Path(filename).read_text("utf-8"))):
        if isinstance(node, _ALLOCATING):
            assert isinstance(node, ast.expr | ast.stmt)
            allocating.add(node.lineno)
        elif isinstance(node, ast.With | ast.AsyncWith):
            allocating.update(item.context_expr.lineno for item in node.items)
        elif isinstance(node, ast.Try | ast.TryStar):
            parts: list[ast.ExceptHandler | ast.stmt] = [*node.handlers, *node.finalbody]
            for part in parts:
                cleaning_up.update(range(part.lineno, (part.end_lineno or part.lineno) + 1))
    return frozenset(allocating), frozenset(cleaning_up)


def out_of_memory(situation: Situation, points: list[Point]) -> Iterator[Fault]:
    """`MemoryError` at each line, once for each place it stands in: the first time and the last time."""
    seen: dict[str, list[int]] = {}
    for at, point in enumerate(points, 1):
        seen.setdefault(point.where, []).append(at)
    for places in seen.values():
        for at in {places[0], places[-1]}:
            yield _no_memory(at, points[at - 1].name == "clean-up")


def _no_memory(at: int, is_clean_up: bool) -> Fault:
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
        may_leak=is_clean_up,
    )


OUT_OF_MEMORY: Final = Net(out_of_memory, Lines)
