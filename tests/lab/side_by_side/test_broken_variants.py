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


def test_the_nursery_of_trios_documentation_keeps_what_ours_keeps(task_rows: Section) -> None:
    """It is the one that is broken above, and is not in the rows."""
    places = [("trio_nursery", *place) for place in product(BY_SITUATION, ENDPOINTS)]

    for (_, situation, endpoint), seen in measured("trio", places).items():
        ours = cell(task_rows, "fanout", situation, endpoint)
        assert (seen.verdict, seen.text, seen.answered_ms) == (ours.verdict, ours.text, ours.answered_ms)
