"""A variant that is broken on purpose turns the row red that is about it: no row is green by construction."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from fanout.lab.side_by_side.cells import Section
from fanout.lab.side_by_side.readers_function import YOURS, find
from fanout.lab.side_by_side.situations import BY_NAME as BY_SITUATION
from fanout.lab.side_by_side.tasks import measured
from fanout.lab.side_by_side.variants import BY_NAME, ENDPOINTS
from tests.lab.side_by_side.cells import cell

OUTSIDE = """
import trio

async def first(calls, timeout):
    sends, receives = trio.open_memory_channel(2)

    async def run(call):
        sends.send_nowait(await call())

    for call in calls:
        trio.lowlevel.spawn_system_task(run, call)
    with trio.fail_after(timeout):
        return await receives.receive()
"""


@pytest.mark.parametrize(
    ("variant", "line", "instead", "row", "text"),
    [
        ("taskgroup", "raise Found", "return", "slow loser", "+650 ms"),
        ("taskgroup", "except ConnectionError:", "except ZeroDivisionError:", "fast failure", "wrong"),
        ("taskgroup", "async with asyncio.timeout(timeout):", "if True:", "both hang", "never"),
        ("wait_cancel_await", "task.cancel()", "pass", "slow loser", "+650 ms"),
        ("wait_cancel_await", "await asyncio.gather(", "asyncio.gather(", "one hangs", "1 left at 0 ms"),
        ("trio_nursery", "nursery.cancel_scope.cancel()", "pass", "slow loser", "+650 ms"),
        (
            "trio_nursery",
            "if payloads:",
            "if not deadline.cancel_called:",
            "clean-up waits",
            "wrong, +400 ms",
        ),
        ("trio_nursery", "except ConnectionError:", "except BaseException:", "disconnect", "wrong"),
    ],
)
def test_a_broken_variant_turns_its_row_red(
    tmp_path: Path, variant: str, line: str, instead: str, row: str, text: str
) -> None:
    whole = BY_NAME[variant].source
    assert line in whole
    file = tmp_path / "mine.py"
    place = (YOURS, row, "first")

    file.write_text(whole.replace(line, instead))
    readers = find(f"{file}:first")
    seen = measured(readers.runtime, [place], readers)[place]

    assert (seen.verdict, seen.text) == ("late" if text.startswith("+") else "broken", text)


def test_on_trio_a_task_outside_of_every_nursery_of_the_request_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(OUTSIDE)
    readers = find(f"{file}:first")

    seen = measured(readers.runtime, [(YOURS, "slow loser", "first")], readers)[YOURS, "slow loser", "first"]

    assert (seen.text, seen.counts["tasks_at_0_ms"], seen.counts["tasks_at_50_ms"]) == ("1 left", 1, 1)
    assert seen.leak is not None
    assert "spawn_system_task" in OUTSIDE.splitlines()[seen.leak - 1]


@pytest.mark.long
def test_the_nursery_of_trios_documentation_keeps_what_ours_keeps(task_rows: Section) -> None:
    """It is the one that is broken above, and is not in the rows."""
    places = [("trio_nursery", *place) for place in product(BY_SITUATION, ENDPOINTS)]

    for (_, situation, endpoint), seen in measured("trio", places).items():
        ours = cell(task_rows, "fanout", situation, endpoint)
        assert (seen.verdict, seen.text, seen.answered_ms) == (ours.verdict, ours.text, ours.answered_ms)
