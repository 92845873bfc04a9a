"""Counts, and what an observer that fails costs: nothing."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from fanout.observe.loop import INTERVAL_S, LoopLag
from fanout.observe.observers import Observers
from fanout.observe.tally import Promises, Tally
from fanout.race.budget import Budget
from fanout.race.events import (
    AnswerSent,
    BugFound,
    CallEnded,
    CallerLeft,
    CallStarted,
    Event,
    RaceEnded,
    RequestRefused,
)
from fanout.race.ledger import CallRecord
from fanout.race.outcome import Cancelled, Crash, Failure, Outcome, Success
from fanout.race.verdict import DeadlineReached, NoSuccess, One


def ended(outcome: Outcome) -> CallEnded:
    return CallEnded("r", CallRecord(0, 0, 1, outcome), at=1)


def test_the_tally_counts_each_fact_under_its_word() -> None:
    tally = Tally()
    budget = Budget(0, 100, 0)
    for event in (
        ended(Success(b"")),
        ended(Failure("broken")),
        ended(Failure("broken")),
        ended(Cancelled("deadline")),
        ended(Crash(ValueError())),
        RaceEnded("r", One(0, b""), (), budget, at=1),
        RaceEnded("r", NoSuccess(), (), budget, at=1),
        RaceEnded("r", DeadlineReached(), (), budget, at=1),
        AnswerSent("r", 200, 0, at=1),
        AnswerSent("r", 500, 0.001, at=1),
        RequestRefused("r", "overloaded", 503, at=1),
        CallerLeft("r", at=1),
        BugFound("r", "call 0", ValueError(), at=1),
        CallStarted("r", 0, at=1),
    ):
        tally.notify(event)
    statistics = tally.statistics()
    assert statistics.calls == {"success": 1, "broken": 2, "cancelled": 1, "internal": 1}
    assert statistics.races == {"One": 1, "NoSuccess": 1, "DeadlineReached": 1}
    assert statistics.answers == {"200": 1, "500": 1, "503": 1}
    assert statistics.refused == {"overloaded": 1}
    assert statistics.callers_left == 1
    assert statistics.promises_broken == Promises(late_answers=1, bugs=1)


def test_a_snapshot_does_not_change_afterwards() -> None:
    tally = Tally()
    before = tally.statistics()
    tally.notify(AnswerSent("r", 200, 0, at=1))
    assert before.answers == {}


def test_an_observer_that_raises_is_logged_and_costs_the_others_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken:
        def notify(self, event: Event) -> None:
            raise RuntimeError("in an observer")

    tally = Tally()
    Observers([Broken(), tally]).notify(AnswerSent("r", 200, 0, at=1))
    assert tally.statistics().answers == {"200": 1}


async def test_loop_lag_is_how_late_a_sleep_ended(mock_clock: trio.testing.MockClock) -> None:
    lag = LoopLag()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.run)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(INTERVAL_S + 0.040)  # the loop was busy for 40 ms too long
        await trio.testing.wait_all_tasks_blocked()
        assert lag.statistics().lag_ms == pytest.approx(40, abs=0.01)
        mock_clock.jump(INTERVAL_S)
        await trio.testing.wait_all_tasks_blocked()
        assert lag.statistics().lag_ms == pytest.approx(0, abs=0.01)
        assert lag.statistics().worst_lag_ms == pytest.approx(40, abs=0.01)
        nursery.cancel_scope.cancel()
