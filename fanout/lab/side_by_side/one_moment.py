"""The rows *One moment*: a value and a cancellation, or a value and the deadline, in one iteration."""

from __future__ import annotations

import asyncio
import importlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fanout.lab.side_by_side.cells import Cell, Row, Section
from fanout.lab.side_by_side.moments import Moment
from fanout.lab.side_by_side.process import answer, values_from

LIBRARIES: Final = {"asyncio": "asyncio", "anyio": "anyio", "trio": "Trio"}
_PYTHON: Final = ".".join(platform.python_version_tuple()[:2])
_GIVEN: Final = "A task waits for {}. In one iteration, that becomes available and the task is cancelled."

# By the name of the function in `moments`: the name of the row, and its situation.
ROWS: Final = {
    "future": ("await future", _GIVEN.format("a value, with nothing between it and the event loop")),
    "queue": ("queue", _GIVEN.format("an item of a queue")),
    "semaphore": ("semaphore", _GIVEN.format("a permit of a semaphore")),
    "child": ("result of a task", _GIVEN.format("the result of a task of its group")),
    "timed": (
        "wait_for",
        _GIVEN.format("a value, at most 5 s (wait_for, fail_after)") + f" Python {_PYTHON}.",
    ),
    "tie": ("tie", "A call succeeds at the very moment of the deadline."),
}
ROW_NAMES: Final = tuple(name for name, _ in ROWS.values())
HOW: Final = (
    "Two things happen in one iteration, and each library orders them. A value that is neither received nor"
    f" still there is lost, such as a connection that nothing closes. asyncio is that of Python {_PYTHON}."
)


RUNS: Final = 5  # of each moment; all of them must have the same outcome


def section() -> Section:
    """Run every moment with every library. Takes about a second."""
    moments: dict[tuple[str, str], Moment] = {}
    for runtime in ("asyncio", "trio"):
        for value in values_from(__name__, runtime):
            moments[value["library"], value["moment"]] = Moment(*value["seen"])
    rows = [
        Row(name, "", situation, tuple(_cell(library, moment, moments) for library in LIBRARIES))
        for moment, (name, situation) in ROWS.items()
    ]
    return Section("one moment", "One moment", HOW, tuple(LIBRARIES.values()), tuple(rows))


def _cell(library: str, moment: str, moments: dict[tuple[str, str], Moment]) -> Cell:
    title = LIBRARIES[library]
    if (library, moment) not in moments:
        return Cell(title, "not measured", "has none")
    seen = moments[library, moment]
    lost = 1 - len(seen.received) - seen.kept
    counts = {"values_lost": lost, "cancellations_lost": int(not seen.is_cancelled)}
    source = (Path(__file__).parent / "moments" / f"{library}_moments.py").read_text()
    if lost:
        return Cell(title, "broken", "value lost", counts=counts, source=source, leak=seen.line)
    if not seen.is_cancelled:
        return Cell(title, "broken", "cancel lost", counts=counts, source=source, leak=seen.line)
    if moment == "tie":
        text = "success first" if seen.received else "deadline first"
    else:
        text = "received" if seen.received else "still there"
    return Cell(title, "kept", text, counts=counts, source=source)


def _moments(runtime: str) -> Iterator[object]:
    """In a process of its own: asyncio's never imports Trio."""
    libraries = ("trio",) if runtime == "trio" else ("asyncio", "anyio")
    for library in libraries:
        module = importlib.import_module(f"fanout.lab.side_by_side.moments.{library}_moments")
        for moment in ROWS:
            function = getattr(module, moment, None)
            if function is not None:
                seen, *others = [_run(runtime, function) for _ in range(RUNS)]
                assert all(other == seen for other in others), f"{library} {moment}: {seen}, then {others}"
                yield {"library": library, "moment": moment, "seen": seen}


def _run(runtime: str, function: Any) -> Any:
    if runtime == "trio":
        import trio
        import trio.testing

        return trio.run(function, clock=trio.testing.MockClock(autojump_threshold=0))

    from fanout.lab.side_by_side.asyncio_world import JumpingLoop

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(function())


if __name__ == "__main__":
    answer(_moments)
