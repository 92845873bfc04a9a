"""Running a call: what is recorded, what is told, what is cancelled, whatever the call does."""

from __future__ import annotations

import pytest
import trio

from fanout.race.budget import Budget
from fanout.race.events import EVENTS, BugFound, CallEnded, CallStarted, Event, RaceEnded, RaceStarted
from fanout.race.outcome import Cancelled, Crash, Failure, Success
from fanout.race.race import Race
from fanout.race.timings import CallTimings
from fanout.race.verdict import Crashed, DeadlineReached, Every, NoSuccess, One, every_success, first_success
from fanout.testing import ScriptedCall, answers, crashes, fails, hangs


class Told(list[Event]):
    interests = EVENTS

    def notify(self, event: Event) -> None:
        self.append(event)


def race_of(*calls: ScriptedCall, timeout_ms: int = 1000) -> tuple[Race, Told]:
    told = Told()
    budget = Budget(trio.current_time(), timeout_ms, reserve_ms=0)
    return Race("r", first_success, calls, budget, told), told


async def run_all(race: Race) -> trio.CancelScope:
    with trio.move_on_at(race.budget.race_ends_at):
        async with trio.open_nursery() as nursery:
            for call in race.calls:
                nursery.start_soon(race.run, call, nursery.cancel_scope)
    return nursery.cancel_scope


async def test_the_loser_is_cancelled_as_soon_as_the_race_is_settled_and_knows_why(
    autojump_clock: trio.testing.MockClock,
) -> None:
    race, _ = race_of(hangs(), answers(100))
    await run_all(race)
    loser, winner = race.ledger.records
    assert winner.outcome == Success(b'{"time": 100}')
    assert loser.outcome == Cancelled("explicit", "call 1 settled the race")
    assert loser.elapsed_s == winner.elapsed_s == pytest.approx(0.1)
    assert race.verdict() == One(1, b'{"time": 100}')


async def test_the_deadline_is_the_recorded_source(autojump_clock: trio.testing.MockClock) -> None:
    race, _ = race_of(hangs(), fails(50), timeout_ms=200)
    await run_all(race)
    cancelled, failed = race.ledger.records
    assert isinstance(cancelled.outcome, Cancelled)
    assert cancelled.outcome.source == "deadline"
    assert cancelled.elapsed_s == pytest.approx(0.2)
    assert failed.outcome == Failure("bad_status")
    assert race.verdict() == DeadlineReached()


async def test_observers_are_told_every_fact_in_order(autojump_clock: trio.testing.MockClock) -> None:
    race, told = race_of(fails(10), fails(20))
    await run_all(race)
    race.verdict()
    kinds = [type(event) for event in told]
    assert kinds == [RaceStarted, CallStarted, CallStarted, CallEnded, CallEnded, RaceEnded]
    assert told[-1] == RaceEnded("r", race.record(), trio.current_time())
    assert race.record().verdict == NoSuccess()


async def test_a_call_whose_time_is_over_is_not_started(autojump_clock: trio.testing.MockClock) -> None:
    """A call that starts after the deadline could only be waste."""
    call = answers(0)
    race, told = race_of(call, timeout_ms=100)
    await trio.sleep(0.1)
    await run_all(race)
    assert call.started == 0
    assert race.verdict() == DeadlineReached()
    assert not [event for event in told if isinstance(event, CallStarted)]


async def test_the_race_itself_knows_when_its_time_is_over(autojump_clock: trio.testing.MockClock) -> None:
    """At the very end, and without a scope that would say so."""
    call = answers(0)
    race, _ = race_of(call, timeout_ms=100)
    await trio.sleep(0.1)
    with trio.CancelScope() as scope:
        await race.run(0, scope)
    assert call.started == 0
    assert race.verdict() == DeadlineReached()


async def test_a_call_is_not_started_in_a_cancelled_scope(autojump_clock: trio.testing.MockClock) -> None:
    call = answers(0)
    race, _ = race_of(call)
    with trio.CancelScope() as scope:
        scope.cancel()
        await race.run(0, scope)
    assert call.started == 0
    assert isinstance(race.ledger.records[0].outcome, Cancelled)


async def test_a_bug_is_reported_where_it_happened_and_fails_the_race(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G11: also when the sibling has already succeeded, and the sibling is cancelled at once."""
    bug = KeyError("x")
    race, told = race_of(crashes(50, bug), hangs())
    await run_all(race)
    assert race.verdict() == Crashed(bug)
    assert [event.exception for event in told if isinstance(event, BugFound)] == [bug]
    assert race.ledger.records[0].outcome == Crash(bug)
    assert race.ledger.records[1].elapsed_s == pytest.approx(0.05)


async def test_a_bug_in_a_losers_clean_up_is_not_lost(autojump_clock: trio.testing.MockClock) -> None:
    """G11: the sibling has won, the loser is being cancelled, and its clean-up raises."""
    bug = RuntimeError("clean-up")
    loser = hangs()
    loser.cleanup_error = bug
    race, told = race_of(loser, answers(50))
    await run_all(race)
    assert race.verdict() == Crashed(bug)
    assert [event.exception for event in told if isinstance(event, BugFound)] == [bug]


async def test_a_group_of_a_bug_and_a_cancellation_keeps_both(autojump_clock: trio.testing.MockClock) -> None:
    """G11: a call with a nursery of its own can end with both at once."""
    bug = RuntimeError("in a child")

    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise bug

    async def call(timings: CallTimings) -> Success | Failure:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            nursery.start_soon(trio.sleep_forever)
        raise AssertionError("not reached")

    told = Told()
    race = Race("r", first_success, [call], Budget(trio.current_time(), 100, 0), told)
    with trio.move_on_at(race.budget.race_ends_at) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(race.run, 0, nursery.cancel_scope)
    verdict = race.verdict()
    assert isinstance(verdict, Crashed)
    assert pytest.RaisesGroup(RuntimeError, flatten_subgroups=True).matches(verdict.exception)
    assert len([event for event in told if isinstance(event, BugFound)]) == 1
    assert scope.cancelled_caught  # the cancelled half was not swallowed


async def test_a_group_of_cancellations_alone_is_a_cancellation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def call(timings: CallTimings) -> Success | Failure:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
        raise AssertionError("not reached")

    race = Race("r", first_success, [call], Budget(trio.current_time(), 100, 0), Told())
    await run_all(race)
    outcome = race.ledger.records[0].outcome
    assert isinstance(outcome, Cancelled)
    assert outcome.source == "deadline"


async def test_a_cancellation_is_recorded_and_passed_on(autojump_clock: trio.testing.MockClock) -> None:
    """`Cancelled` is never swallowed: the scope that was cancelled must see it."""
    race, _ = race_of(hangs())
    with trio.move_on_after(0.1) as scope:
        await race.run(0, trio.CancelScope())
    assert scope.cancelled_caught
    assert isinstance(race.ledger.records[0].outcome, Cancelled)


async def test_a_loser_passes_on_what_was_cancelled_outside_in_the_same_moment(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its race is settled, and still the scope outside must see it: nothing behind the nursery runs."""
    outside = trio.CancelScope()

    async def wins(timings: CallTimings) -> Success | Failure:
        await trio.sleep(0.1)
        outside.cancel()
        return Success(b"{}")

    race = Race("r", first_success, [wins, hangs()], Budget(trio.current_time(), 1000, 0), Told())
    went_on = False
    with outside:
        await run_all(race)
        went_on = True
    assert not went_on
    assert outside.cancelled_caught
    assert isinstance(race.ledger.records[1].outcome, Cancelled)


@pytest.mark.parametrize("in_a_group", [False, True])
async def test_a_keyboard_interrupt_ends_the_program(
    in_a_group: bool, autojump_clock: trio.testing.MockClock
) -> None:
    interrupt = KeyboardInterrupt()

    async def call(timings: CallTimings) -> Success | Failure:
        raise BaseExceptionGroup("", [interrupt]) if in_a_group else interrupt

    race = Race("r", first_success, [call], Budget(trio.current_time(), 100, 0), Told())
    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        await run_all(race)


async def test_nothing_is_cancelled_when_the_last_call_settles_the_race(
    autojump_clock: trio.testing.MockClock,
) -> None:
    told = Told()
    budget = Budget(trio.current_time(), 1000, 0)
    race = Race("r", every_success, (answers(10), answers(20)), budget, told)
    scope = await run_all(race)
    assert race.verdict() == Every((b'{"time": 10}', b'{"time": 20}'))
    assert not scope.cancel_called


async def test_a_success_in_the_moment_of_a_cancel_is_in_the_record(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The call has its answer, and the client disconnects in the same event-loop iteration."""
    send, receive = trio.open_memory_channel[bytes](1)
    disconnect = trio.CancelScope()

    async def call(timings: CallTimings) -> Success | Failure:
        return Success(await receive.receive())

    race = Race("r", first_success, [call], Budget(trio.current_time(), 1000, 0), Told())

    async def request() -> None:
        with disconnect:
            await run_all(race)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request)
        await trio.testing.wait_all_tasks_blocked()
        send.send_nowait(b"{}")
        disconnect.cancel()
    assert race.ledger.records[0].outcome == Success(b"{}")
