"""How events reach the observers: at once or in batches, and what an observer that fails costs: nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from loguru import logger
from trio.testing import MockClock

from fanout.observe.observers import BATCH_EVERY_S, BATCH_PER_TURN, BatchedObserver, Observers
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
    assert logged[0].startswith("observer Broken failed on RequestEnded")


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
        (pytest.approx(1 + BATCH_EVERY_S), "a"),
        (pytest.approx(1 + BATCH_EVERY_S), "b"),
        (1.5 + BATCH_EVERY_S, "c"),
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
