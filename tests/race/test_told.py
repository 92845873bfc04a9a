"""What observers are told of a race: every fact once, of whom it is, and when."""

from __future__ import annotations

import pytest
import trio

from fanout.race.budget import Budget
from fanout.race.events import (
    EVENTS,
    BugFound,
    CallEnded,
    CallStarted,
    Event,
    RaceEnded,
    RaceRecord,
    RaceStarted,
)
from fanout.race.ledger import CallRecord
from fanout.race.outcome import TOO_LATE, Cancelled, NotStarted, Success
from fanout.race.race import Call, Race
from fanout.race.timings import CallTimings
from fanout.race.verdict import NoSuccess, first_success
from fanout.testing import ScriptedCall, answers, crashes, fails


class Told(list[Event]):
    interests = EVENTS

    def notify(self, event: Event) -> None:
        self.append(event)


def race_of(*calls: Call) -> tuple[Race, Told]:
    told = Told()
    return Race("r-7", first_success, calls, Budget(trio.current_time(), 1000, 0), told), told


async def test_every_fact_names_its_request_its_call_and_its_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    race, told = race_of(fails(250))
    await trio.sleep(0.5)
    await race.run(0, trio.CancelScope())
    await trio.sleep(1)
    race.verdict()
    [record] = race.ledger.records
    assert told == [
        RaceStarted("r-7", "first_success", 1, race.budget, 0.0),
        CallStarted("r-7", 0, 0.5),
        CallEnded("r-7", record, 0.75, 0.0),
        RaceEnded("r-7", RaceRecord("first_success", race.budget, NoSuccess(), (record,), None), 1.75),
    ]
    assert (record.call, record.started_at, record.ended_at) == (0, 0.5, 0.75)


async def test_a_bug_is_told_with_its_place_and_before_the_end_of_its_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G11."""
    bug = KeyError("x")
    race, told = race_of(answers(1), crashes(250, bug))
    await race.run(1, trio.CancelScope())
    assert told[-2:] == [
        BugFound("r-7", "call 1", bug, 0.25),
        CallEnded("r-7", race.ledger.records[1], 0.25, 0.0),
    ]


async def test_a_call_that_is_never_started_says_why(autojump_clock: trio.testing.MockClock) -> None:
    race, told = race_of(answers(0))
    await trio.sleep(2)
    await race.run(0, trio.CancelScope())
    [record] = race.ledger.records
    assert record.outcome == TOO_LATE
    assert record.started_at is None
    assert told[-1] == CallEnded("r-7", record, 2.0, 0.0)


async def test_a_call_that_is_left_out_is_on_record_with_the_reason_and_nobody_waits_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It has not been run, and is no failure. As soon as the others have failed, the race is lost."""
    left_out = answers(0)
    race, told = race_of(fails(250), left_out)
    await trio.sleep(0.5)
    race.leave_out(1, "one was enough")
    record = race.ledger.records[1]
    assert told[-1] == CallEnded("r-7", record, 0.5, 0.0)
    assert record == CallRecord(1, None, 0.5, NotStarted("one was enough"))
    await race.run(0, trio.CancelScope())
    assert race.verdict() == NoSuccess()
    assert left_out.started == 0


async def test_a_cancellation_is_recorded_with_who_and_why_however_it_is_wrapped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def call(timings: CallTimings) -> Success:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            raise BaseExceptionGroup("", [BaseExceptionGroup("", [cancelled])]) from None
        raise AssertionError("not reached")

    race, _ = race_of(call)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(race.run, 0, nursery.cancel_scope)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel(reason="the client left")
    assert race.ledger.records[0].outcome == Cancelled("explicit", "the client left")


@pytest.mark.parametrize("last", [answers(0), fails(0)])
async def test_the_last_call_to_end_cancels_nobody(
    last: ScriptedCall, autojump_clock: trio.testing.MockClock
) -> None:
    """There is nobody left, and a scope that is cancelled for nothing would cost its next checkpoint."""
    race, _ = race_of(last)
    with trio.CancelScope() as scope:
        await race.run(0, scope)
    assert not scope.cancel_called
