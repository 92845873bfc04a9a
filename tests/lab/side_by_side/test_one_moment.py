"""Two things in one iteration: Trio loses neither the value nor the cancellation."""

from __future__ import annotations

import sys

from fanout.lab.side_by_side.cells import Section
from tests.lab.side_by_side.cells import cell, every_cell


def test_trio_delivers_what_it_has_given(moment_rows: Section) -> None:
    for row in moment_rows.rows:
        if row.name != "tie":
            seen = cell(moment_rows, "Trio", row.name, "")
            assert (seen.verdict, seen.text) == ("kept", "received")


def test_asyncios_await_drops_the_value_and_its_queue_does_not(moment_rows: Section) -> None:
    lost = cell(moment_rows, "asyncio", "await future", "")

    assert (lost.text, lost.counts["values_lost"]) == ("value lost", 1)
    assert lost.leak is not None
    assert "await receive()" in lost.source.splitlines()[lost.leak - 1]
    assert cell(moment_rows, "asyncio", "queue", "").text == "still there"
    assert cell(moment_rows, "asyncio", "semaphore", "").text == "still there"


def test_wait_for_swallows_the_cancellation_on_3_11_and_loses_the_value_later(moment_rows: Section) -> None:
    seen = cell(moment_rows, "asyncio", "wait_for", "")

    assert seen.text == ("cancel lost" if sys.version_info < (3, 12) else "value lost")
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in moment_rows.how


def test_at_the_tie_the_deadline_is_first_everywhere(moment_rows: Section) -> None:
    (tie,) = [row for row in moment_rows.rows if row.name == "tie"]

    assert {seen.text for seen in tie.cells} == {"deadline first"}


def test_what_is_lost_has_a_count(moment_rows: Section) -> None:
    for _, seen in every_cell(moment_rows):
        assert (seen.verdict == "broken") == any(seen.counts.values())
