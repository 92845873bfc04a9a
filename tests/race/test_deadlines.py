"""Deadlines travel: how much time is left is asked as a request is sent, and with too little nothing is."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from fanout.race.budget import Budget
from fanout.race.events import BugFound, CallStarted, Event
from fanout.race.outcome import TOO_LATE, Cancelled, Failure, Success
from fanout.race.race import Call, Race
from fanout.race.timings import NO_HEADER, CallTimings, Deadlines
from fanout.race.verdict import DeadlineReached, One, every_success, first_success, word_of
from fanout.testing import answers, fails, hangs

HEADER = b"X-Left"
TRACE = ((b"traceparent", b"00-1"),)


class Told(list[Event]):
    interests = frozenset({BugFound, CallStarted})

    def notify(self, event: Event) -> None:
        self.append(event)


def race_of(*calls: Call, timeout_ms: int = 100, min_call_ms: int = 5, ask: str = "first") -> Race:
    strategy = first_success if ask == "first" else every_success
    budget = Budget(trio.current_time(), timeout_ms, reserve_ms=10)
    return Race("r", strategy, calls, budget, Told(), None, Deadlines(HEADER, min_call_ms))


async def run_all(race: Race) -> float:
    """When it was over."""
    with trio.move_on_at(race.budget.race_ends_at):
        async with trio.open_nursery() as nursery:
            for call in race.calls:
                nursery.start_soon(race.run, call, nursery.cancel_scope)
    return trio.current_time()


class SendsLate:
    """A call whose connection is there after a while. said: what it sends then; `None`: nothing."""

    def __init__(self, after_ms: float) -> None:
        self._after_s = after_ms / 1000
        self.said: tuple[tuple[bytes, bytes], ...] | None = None

    async def __call__(self, timings: CallTimings) -> Success | Failure | Cancelled:
        await trio.sleep(self._after_s)
        self.said = timings.headers_to_send()
        if self.said is None:
            return TOO_LATE
        await trio.sleep(math.inf)
        return Failure("unreachable")


@pytest.mark.parametrize(
    ("at_ms", "said"),
    [
        (0, b"90"),
        (0.0005, b"90"),
        (0.002, b"89"),
        (30, b"60"),
        (30.4, b"59"),
        (80, b"10"),
        (84.999, b"5"),
        (85, b"5"),
        (85.002, None),
        (85.01, None),
        (86, None),
        (89, None),
    ],
)
async def test_what_is_sent_is_the_time_left_and_with_less_than_the_minimum_nothing_is(
    autojump_clock: trio.testing.MockClock, at_ms: float, said: bytes | None
) -> None:
    """In whole milliseconds, rounded down: exactly the minimum is enough, and 0.002 ms less are not.

    0.001 ms more than whole milliseconds are forgiven, because they may be the rounding of the clock.
    """
    call = SendsLate(at_ms)
    race = race_of(call)
    began_at = trio.current_time()
    over_at = await run_all(race)
    assert call.said == (None if said is None else ((HEADER, said),))
    (record,) = race.ledger.records
    assert record.time_left_ms == (None if said is None else int(said))
    assert isinstance(record.outcome, Cancelled)
    assert (record.outcome == TOO_LATE) == (said is None)
    assert over_at - began_at == pytest.approx(at_ms / 1000 if said is None else 0.09)
    assert race.verdict() == DeadlineReached()


@pytest.mark.parametrize("clock_starts_at", [0.0, 1e6 / 3, 1e6 * 2 / 3])
async def test_no_rounding_of_the_clock_takes_a_millisecond(
    clock_starts_at: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Trio's clock begins at a number of up to a million seconds."""
    await trio.sleep(clock_starts_at)
    race = race_of(*[SendsLate(at_ms) for at_ms in range(86)], min_call_ms=5)
    await run_all(race)
    assert [record.time_left_ms for record in race.ledger.records] == list(range(90, 4, -1))


@pytest.mark.parametrize(
    ("arrived_ms_ago", "starts"), [(85, True), (85.01, False), (86, False), (100, False)]
)
async def test_a_call_is_not_started_when_less_than_the_minimum_is_left(
    autojump_clock: trio.testing.MockClock, arrived_ms_ago: float, starts: bool
) -> None:
    call = hangs()
    race = race_of(call)
    await trio.sleep(arrived_ms_ago / 1000)
    began_at = trio.current_time()
    over_at = await run_all(race)
    assert call.started == starts
    (record,) = race.ledger.records
    assert (record.started_at is None, record.outcome == TOO_LATE) == (not starts, not starts)
    assert over_at - began_at == pytest.approx(0.005 if starts else 0)
    assert race.verdict() == DeadlineReached()
    if not starts:
        assert word_of(record, race.verdict()) == "not_started"


async def test_a_call_that_is_sent_nothing_neither_fails_nor_stops_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What ran already may still succeed: its request has been sent."""
    late = SendsLate(87)
    race = race_of(late, answers(88))
    began_at = trio.current_time()
    assert await run_all(race) - began_at == pytest.approx(0.088)
    assert race.verdict() == One(1, b'{"time": 88}')
    assert [word_of(record, race.verdict()) for record in race.ledger.records] == ["cancelled", "won"]


@pytest.mark.parametrize(("other", "over_s"), [(answers(20), 0.087), (fails(20), 0.087), (hangs(), 0.09)])
async def test_all_waits_for_the_deadline_only_while_a_call_runs(
    autojump_clock: trio.testing.MockClock, other: Call, over_s: float
) -> None:
    """G5: a call that the deadline has stopped is one that has not ended. So there is no other answer."""
    race = race_of(SendsLate(87), other, ask="all")
    began_at = trio.current_time()
    assert await run_all(race) - began_at == pytest.approx(over_s)
    assert race.verdict() == DeadlineReached()


async def test_no_success_is_not_said_of_a_call_that_was_not_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    race = race_of(SendsLate(87), fails(20))
    await run_all(race)
    assert race.verdict() == DeadlineReached()


@pytest.mark.parametrize(
    ("deadlines", "said"),
    [
        (Deadlines(b"", 5), TRACE),
        (Deadlines(HEADER, 5), (*TRACE, (HEADER, b"40"))),
        (Deadlines(HEADER, 40), (*TRACE, (HEADER, b"40"))),
        (Deadlines(HEADER, 41), None),
        (Deadlines(b"", 41), None),
    ],
)
def test_the_trace_goes_first_and_the_minimum_holds_without_the_header(
    deadlines: Deadlines, said: object
) -> None:
    timings = CallTimings("r", 0, TRACE, lambda: 7.0, 7.04, deadlines)
    assert timings.headers_to_send() == said
    assert timings.is_too_late() == (said is None)
    assert timings.time_left_ms == (40 if said is not None and deadlines.header else None)


def test_a_second_request_of_a_call_is_sent_what_is_left_then() -> None:
    times = iter([1.0, 1.25])
    timings = CallTimings("r", 0, (), lambda: next(times), 2.0, Deadlines(HEADER))
    assert timings.headers_to_send() == ((HEADER, b"1000"),)
    assert timings.headers_to_send() == ((HEADER, b"750"),)
    assert timings.time_left_ms == 750


def test_a_call_outside_of_a_race_has_all_the_time_and_says_nothing() -> None:
    timings = CallTimings("r", 0, TRACE, lambda: 7.0, deadlines=Deadlines(HEADER))
    assert timings.headers_to_send() == TRACE
    assert timings.time_left_ms is None


@pytest.mark.parametrize(("left_s", "said"), [(0.0015, TRACE), (0.001, TRACE), (0.00099, None)])
def test_unless_it_is_said_a_call_needs_a_millisecond_and_sends_the_trace_alone(
    left_s: float, said: object
) -> None:
    timings = CallTimings("r", 0, TRACE, lambda: 0.0, left_s)
    assert timings.headers_to_send() == said
    assert NO_HEADER.header == b""
