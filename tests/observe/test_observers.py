"""Counts, and what an observer that fails costs: nothing."""

from __future__ import annotations

import pytest

from fanout.observe.observers import Observers
from fanout.observe.tally import Promises, Tally
from fanout.race.budget import Budget
from fanout.race.events import (
    EVENTS,
    BugFound,
    CallStarted,
    Event,
    RaceRecord,
    RequestEnded,
    RequestRefused,
)
from fanout.race.ledger import CallRecord
from fanout.race.outcome import Cancelled, Crash, Failure, Outcome, Success
from fanout.race.verdict import DeadlineReached, NoSuccess, One, Verdict


def ended(
    status: int | None = 200,
    reason: str | None = None,
    late_by_s: float = 0,
    race: RaceRecord | None = None,
) -> RequestEnded:
    return RequestEnded("r", None, 0.0, status, reason, late_by_s, None, race, at=1)


def race(verdict: Verdict | None, *outcomes: Outcome | None) -> RaceRecord:
    calls = tuple(CallRecord(call, 0, 1, outcome) for call, outcome in enumerate(outcomes))
    return RaceRecord("first_success", Budget(0, 100, 0), verdict, calls, None)


def test_the_tally_counts_each_fact_under_its_word() -> None:
    tally = Tally()
    for event in (
        ended(race=race(One(0, b""), Success(b""), Cancelled("explicit"))),
        ended(500, race=race(NoSuccess(), Failure("broken"), Failure("broken"))),
        ended(500, late_by_s=0.001, race=race(DeadlineReached(), Crash(ValueError()))),
        ended(None, "caller_left", race=race(None, None)),
        ended(503, "overloaded"),
        RequestRefused("r", "overloaded", 503, at=1),
        BugFound("r", "call 0", ValueError(), at=1),
        CallStarted("r", 0, at=1),
    ):
        tally.notify(event)
    statistics = tally.statistics()
    assert statistics.calls == {"success": 1, "broken": 2, "cancelled": 1, "internal": 1}
    assert statistics.races == {"One": 1, "NoSuccess": 1, "DeadlineReached": 1}
    assert statistics.answers == {"200": 1, "500": 2, "503": 1}
    assert statistics.refused == {"overloaded": 1}
    assert statistics.callers_left == 1
    assert statistics.promises_broken == Promises(late_answers=1, bugs=1)


def test_a_snapshot_does_not_change_afterwards() -> None:
    tally = Tally()
    before = tally.statistics()
    tally.notify(ended())
    assert before.answers == {}


def test_each_observer_is_told_of_what_it_wants_and_no_other_event_need_be_made() -> None:
    class Collector:
        told_of = frozenset({BugFound})

        def __init__(self) -> None:
            self.seen: list[Event] = []

        def notify(self, event: Event) -> None:
            self.seen.append(event)

    bug, wants_bugs, wants_all = BugFound("r", "x", ValueError(), at=1), Collector(), Collector()
    wants_all.told_of = EVENTS
    observers = Observers([wants_bugs])
    assert BugFound in observers.told_of
    assert RequestEnded not in observers.told_of
    observers.join(wants_all)
    assert RequestEnded in observers.told_of
    for event in (bug, ended()):
        observers.notify(event)
    observers.leave(wants_all)
    assert RequestEnded not in observers.told_of
    observers.notify(ended())
    assert (wants_bugs.seen, wants_all.seen) == ([bug], [bug, ended()])


def test_an_observer_that_raises_is_logged_and_costs_the_others_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken:
        told_of = EVENTS

        def notify(self, event: Event) -> None:
            raise RuntimeError("in an observer")

    tally = Tally()
    Observers([Broken(), tally]).notify(ended())
    assert tally.statistics().answers == {"200": 1}
