"""Results for tests of the page: made of the lab's own types, as the commands make them."""

from __future__ import annotations

from typing import Any, Final

from fanout.lab.experiment import Experiment
from fanout.lab.report import Report, Seen
from fanout.lab.side_by_side.cells import Cell, Matrix, Row, Section
from fanout.lab.timeline import Lane

MARKUP: Final = "</script><b id=injected>&"  # what a page must show as text
_LANES: Final = (
    Lane("call 0", 0, 50.5, "success"),
    Lane("call 1", 0, 51, "cancelled", "call 0 settled the race", was_reset=True),
)
_SOURCE: Final = """async def first(calls, timeout):
    done, pending = await asyncio.wait(calls, return_when=FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return done.pop().result()
"""
VARIANTS: Final = (
    *("gather", "gather(return_exceptions)", "wait", "wait + cancel", "cancel and await", "as_completed"),
    *("TaskGroup + timeout", "anyio", "threads", "httpx under Trio", "ours", "ours through the bridge"),
)


async def _nothing(setup: object, report: Report) -> None:
    raise NotImplementedError("only the page of recorded results is made")


def _experiment(number: int) -> dict[str, Any]:
    experiment = Experiment(
        id=f"G{number}",
        title="first success",
        claim=f"a winner ends its losers {MARKUP}",
        code="fanout/race/race.py Race.run",
        test="tests/race/test_race.py::test_the_first_success_wins",
        breakages=("losers_not_cancelled", "cancelled_swallowed"),
        run=_nothing,
        article="",
        is_virtual=number == 2,
    )
    is_kept = number != 9
    seen = [
        Seen("client", "200 after 52 ms", True),
        Seen("wire", "call 1 client_closed", is_kept),
        Seen("leak check", "0 leaked_tasks, 0 leaked_permits", True),
    ]
    done = ["call 0 answers after 50 ms, call 1 after 700 ms"]
    lanes = [*_LANES] * (3 if number == 1 else 1)
    return experiment.to_json(Report(done, lanes, seen), 812.3)


def _cell(variant: str, row: str) -> Cell:
    if variant.startswith("ours"):
        return Cell(variant, "kept", "on time", 52, 1000, {"tasks_at_0_ms": 0}, _SOURCE, None, _LANES)
    if row == "a clean-up that waits":
        return Cell(variant, "late", "+400 ms", 1400, 1000, {"tasks_at_0_ms": 0}, _SOURCE, 4, _LANES)
    left = (_LANES[0], Lane("call 1", 0, 700, "left"))
    counts = {"tasks_at_0_ms": 1, "tasks_at_50_ms": 1}
    return Cell(variant, "broken", "1 task left", 52, 1000, counts, _SOURCE, 2, left)


def _row(name: str, endpoint: str) -> Row:
    return Row(
        name, endpoint, "Call 1 is slow when call 0 has won.", tuple(_cell(each, name) for each in VARIANTS)
    )


EXPERIMENTS: Final = [_experiment(number) for number in range(1, 13)]
MATRIX: Final = Matrix(
    {"Python": "3.13.5", "aiohttp": "3.14.0"},
    (
        Section(
            "tasks",
            "Tasks",
            "On plain asyncio with a jumping clock: exact, and the same in every run.",
            VARIANTS,
            (_row("a slow loser", "first"), _row("a clean-up that waits", "first"), _row("a bug", "all")),
        ),
        Section("slots", "Slots", "A cancel at every step.", VARIANTS[-3:], (_row("a warm connection", ""),)),
    ),
).to_json()
