"""How events reach the observers: at once or in batches, and what an observer that fails costs: nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from loguru import logger
from trio.testing import MockClock

from fanout.observe.observers import BATCH_PER_TURN, KEPT_RECEIPTS, BatchedObserver, Observers, Receipts
from fanout.race.events import (
    EVENTS,
    BugFound,
    CallStarted,
    Event,
    RequestEnded,
)


def ended(name: str = "r") -> RequestEnded:
    return RequestEnded(name, None, 0.0, 200, None, 0.0, None, None, at=1)


def test_each_observer_is_told_of_what_it_wants_and_no_other_event_need_be_made() -> None:
    class Collector:
        interests = frozenset({BugFound})

        def __init__(self) -> None:
            self.seen: list[Event] = []

        def notify(self, event: Event) -> None:
            self.seen.append(event)

    bug, wants_bugs, wants_all = BugFound("r", "x", ValueError(), at=1), Collector(), Collector()
    wants_all.interests = EVENTS
    observers = Observers([wants_bugs])
    assert BugFound in observers.interests
    assert RequestEnded not in observers.interests
    observers.join(wants_all)
    assert RequestEnded in observers.interests
    for event in (bug, ended()):
        observers.notify(event)
    observers.leave(wants_all)
    assert RequestEnded not in observers.interests
    observers.notify(ended())
    assert (wants_bugs.seen, wants_all.seen) == ([bug], [bug, ended()])


def test_an_observer_that_raises_is_logged_and_costs_the_others_nothing() -> None:
    class Broken:
        interests = EVENTS

        def notify(self, event: Event) -> None:
            raise RuntimeError("in an observer")

    class Counting:
        interests = EVENTS
        notified = 0

        def notify(self, event: Event) -> None:
            self.notified += 1

    counting, logged = Counting(), list[str]()
    sink = logger.add(logged.append, format="{message}")
    try:
        Observers([Broken(), counting]).notify(ended())
    finally:
        logger.remove(sink)
    assert counting.notified == 1
    assert logged[0].startswith("observer Broken failed on RequestEnded\nTraceback")
    assert "RuntimeError: in an observer" in logged[0]


class Clocked:
    interests = EVENTS

    def __init__(self) -> None:
        self.seen: list[tuple[float, Event]] = []

    def notify(self, event: Event) -> None:
        self.seen.append((trio.current_time(), event))


async def test_what_has_ended_is_told_in_order_a_quarter_of_a_second_later(autojump_clock: MockClock) -> None:
    collector = Clocked()
    batched = BatchedObserver([collector])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batched.run)
        begin = trio.current_time()
        for at, name in ((1.0, "a"), (1.05, "b"), (1.5, "c")):
            await trio.sleep_until(begin + at)
            batched.notify(ended(name))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    told = [(at - begin, event.request_id) for at, event in collector.seen]
    assert told == [
        (pytest.approx(1.25), "a"),
        (pytest.approx(1.25), "b"),
        (1.75, "c"),
    ]


async def test_all_else_is_told_at_once() -> None:
    collector = Clocked()
    batched = BatchedObserver([collector])
    bug, started = BugFound("r", "x", ValueError(), at=1), CallStarted("r", 0, at=1)
    for event in (ended(), bug, started):
        batched.notify(event)
    assert [event for _, event in collector.seen] == [bug, started]
    batched.catch_up()
    assert [event for _, event in collector.seen] == [bug, started, ended()]


async def test_who_wants_to_know_now_has_all_of_it_and_others_get_their_turns() -> None:
    collector = Clocked()
    batched = BatchedObserver([collector])
    for number in range(3 * BATCH_PER_TURN + 1):
        batched.notify(ended(str(number)))
    seen_by_others: list[int] = []

    async def other() -> None:
        while True:
            seen_by_others.append(len(collector.seen))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        await batched.caught_up()
        nursery.cancel_scope.cancel()
    assert [event.request_id for _, event in collector.seen] == [
        str(n) for n in range(3 * BATCH_PER_TURN + 1)
    ]
    steps = [after - before for before, after in pairwise(seen_by_others)]
    assert max(steps) <= 2 * BATCH_PER_TURN  # who comes first in a pass is chance


async def test_what_ended_before_it_ran_is_told(autojump_clock: MockClock) -> None:
    collector = Clocked()
    batched = BatchedObserver([collector])
    batched.notify(ended())
    with trio.move_on_after(1):
        await batched.run()
    assert len(collector.seen) == 1


class Logged(list[str]):
    """What is logged meanwhile, with tracebacks."""

    def __enter__(self) -> Logged:
        self._sink = logger.add(self.append, format="{message}")
        return self

    def __exit__(self, *_: object) -> None:
        logger.remove(self._sink)


@pytest.mark.parametrize("at_most", [0, 1, 2, 5])
def test_as_many_are_told_of_now_as_is_said(at_most: int) -> None:
    told: list[str] = []

    class Names:
        interests = EVENTS

        def notify(self, event: Event) -> None:
            told.append(event.request_id)

    batched = BatchedObserver([Names()])
    for name in "abc":
        batched.notify(ended(name))
    batched.catch_up(at_most)
    assert told == list("abc")[:at_most]
    batched.catch_up()
    assert told == list("abc")


@pytest.mark.parametrize(("had_ended", "turns"), [(2 * BATCH_PER_TURN, 3), (2 * BATCH_PER_TURN + 1, 4)])
async def test_catching_up_takes_a_turn_per_batch_and_leaves_what_ends_meanwhile(
    had_ended: int, turns: int
) -> None:
    """Of what had ended at the call, however much more comes."""
    batched = BatchedObserver([Clocked()])
    for number in range(had_ended):
        batched.notify(ended(str(number)))
    waiting: list[int] = []

    async def turn() -> None:
        waiting.append(len(batched._waiting))
        assert len(waiting) < 10
        for _ in range(BATCH_PER_TURN):
            batched.notify(ended("more"))
        await trio.lowlevel.checkpoint()

    await batched.caught_up(turn)
    assert waiting == [had_ended] * turns


async def test_catching_up_with_nothing_is_one_turn() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1
        await trio.lowlevel.checkpoint()

    await BatchedObserver([]).caught_up(turn)
    assert turns == 1


async def test_who_runs_sleeps_until_a_request_ends(autojump_clock: MockClock) -> None:
    """Each first request begins a batch of its own."""
    collector = Clocked()
    batched = BatchedObserver([collector])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(batched.run)
        for at in (10.0, 20.0, 20.125):
            await trio.sleep_until(at)
            batched.notify(ended(str(at)))
        await trio.sleep_until(30.0)
        nursery.cancel_scope.cancel()
    assert [(at, event.request_id) for at, event in collector.seen] == [
        (10.25, "10.0"),
        (20.25, "20.0"),
        (20.25, "20.125"),
    ]


def test_what_an_observer_wants_may_change_when_another_joins_or_leaves() -> None:
    class Wants:
        def __init__(self, *interests: type[Event]) -> None:
            self.interests = frozenset(interests)

        def notify(self, event: Event) -> None:
            pass

    one, two = Wants(BugFound), Wants(BugFound, RequestEnded)
    batched = BatchedObserver([one, two])
    assert set(batched.interests) == {BugFound, RequestEnded}  # type: ignore[call-overload]  # it is a mapping
    observers = Observers([one, two])
    assert dict(observers.interests) == {BugFound: (one, two), RequestEnded: (two,)}
    observers.leave(one)
    assert dict(observers.interests) == {BugFound: (two,), RequestEnded: (two,)}
    observers.join(one)
    assert dict(observers.interests) == {BugFound: (two, one), RequestEnded: (two,)}


def test_a_consumer_of_receipts_that_raises_is_named() -> None:
    def broken(receipt: object) -> None:
        raise ZeroDivisionError("in a consumer")

    with Logged() as logged:
        Receipts([broken]).notify(ended())
    assert [line[:40] for line in logged] == ["a receipt could not be used by <function"]
    assert "ZeroDivisionError: in a consumer" in logged[0]


def test_receipts_are_made_of_requests_alone() -> None:
    seen: list[object] = []
    receipts = Receipts([seen.append])
    receipts.notify(BugFound("r", "x", ValueError(), at=1))
    receipts.notify(ended("kept"))
    assert seen == list(receipts.latest)
    assert [receipt.request_id for receipt in receipts.latest] == ["kept"]
    assert receipts.interests == {RequestEnded}


def test_only_the_latest_receipts_are_kept() -> None:
    """Else memory would grow with each request."""
    receipts = Receipts()
    for number in range(KEPT_RECEIPTS + 2):
        receipts.notify(ended(str(number)))
    assert len(receipts.latest) == KEPT_RECEIPTS
    assert (receipts.latest[0].request_id, receipts.latest[-1].request_id) == ("2", str(KEPT_RECEIPTS + 1))
