"""The record of a whole race, and what its calls have marked in it."""

from __future__ import annotations

import math

import trio

from fanout.race.budget import Budget
from fanout.race.events import EVENTS, Event, RaceRecord, RequestEnded
from fanout.race.ledger import CallRecord
from fanout.race.outcome import Cancelled, Success
from fanout.race.race import Call, Race
from fanout.race.timings import CallTimings, Headers
from fanout.race.verdict import One, first_success
from fanout.testing import answers, hangs


class Nobody:
    interests = EVENTS

    def notify(self, event: Event) -> None: ...


class EveryCallItsOwn:
    """A trace that tells the calls apart."""

    trace_id = None

    def headers(self, call: int) -> Headers:
        return ((b"traceparent", b"call-%d" % call),)


def race_of(*calls: Call, trace: EveryCallItsOwn | None = None) -> Race:
    return Race("r-7", first_success, calls, Budget(trio.current_time(), 1000, 0), Nobody(), trace)


class Marking:
    """CallTimings two phases and hangs, or succeeds."""

    def __init__(self, hangs: bool) -> None:
        self._hangs = hangs
        self.given: CallTimings | None = None

    async def __call__(self, timings: CallTimings) -> Success:
        self.given = timings
        timings.mark("connect")
        await trio.sleep(0.25)
        timings.mark("wait")
        await trio.sleep(math.inf if self._hangs else 0.25)
        return Success(b"{}")


async def run_all(race: Race) -> None:
    async with trio.open_nursery() as nursery:
        for call in race.calls:
            nursery.start_soon(race.run, call, nursery.cancel_scope)


async def test_what_a_call_marks_is_in_its_record_however_it_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    race = race_of(Marking(hangs=True), Marking(hangs=False))
    await run_all(race)
    for record in race.ledger.records:
        assert record.timings == (("connect", 0.0), ("wait", 0.25))
        assert record.ended_at == 0.5


async def test_every_call_is_told_its_request_its_number_and_its_own_headers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls = [Marking(hangs=False), Marking(hangs=False)]
    await run_all(race_of(*calls, trace=EveryCallItsOwn()))
    for number, call in enumerate(calls):
        assert call.given is not None
        assert (call.given.request_id, call.given.call) == ("r-7", number)
        assert call.given.headers == ((b"traceparent", b"call-%d" % number),)


async def test_without_a_trace_a_call_sends_nothing_along(autojump_clock: trio.testing.MockClock) -> None:
    call = Marking(hangs=False)
    await run_all(race_of(call))
    assert call.given is not None
    assert call.given.headers == ()


async def test_the_record_says_when_the_race_was_settled_and_for_whom(
    autojump_clock: trio.testing.MockClock,
) -> None:
    race = race_of(hangs(), answers(250, b"{}"))
    assert race.record() == RaceRecord("first_success", race.budget, None, race.ledger.records, None)
    await run_all(race)
    await trio.sleep(1)
    verdict = race.verdict()
    assert verdict == One(1, b"{}")
    assert race.record() == RaceRecord("first_success", race.budget, verdict, race.ledger.records, 0.25)


async def test_a_race_is_settled_once(autojump_clock: trio.testing.MockClock) -> None:
    """Losers whose clean-up takes its time end later, and settle nothing."""
    losers = hangs(), hangs()
    losers[0].cleanup_ms, losers[1].cleanup_ms = 250, 500
    race = race_of(*losers, answers(250))
    await run_all(race)
    assert race.ledger.records[0].ended_at == 0.5
    assert race.record().settled_at == 0.25


async def test_a_call_that_is_not_started_says_who_did_not_want_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The race was over, or the client had left: that is no deadline."""
    call = answers(0)
    race = race_of(call)
    with trio.CancelScope() as scope:
        scope.cancel(reason="the client left")
        await race.run(0, scope)
    assert race.ledger.records[0] == CallRecord(0, None, 0.0, Cancelled("explicit", "the client left"))
    assert call.started == 0


def test_what_is_not_known_of_a_request_is_empty() -> None:
    ended = RequestEnded("r", None, 0.0, 200, None, 0.0, None, None, 1.0)
    assert (ended.method, ended.raw_path, ended.client) == ("", b"", None)
