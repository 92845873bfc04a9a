"""Counts, and what an observer that fails costs: nothing."""

from __future__ import annotations

import pytest

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
