"""Events told later: none is lost, none waits long, and what cannot wait does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

from fanout.observe.later import AT_ONCE, EVERY_S, Later
from fanout.race.events import EVENTS, BugFound, CallStarted, Event, RequestEnded


class Collector:
    told_of = EVENTS

    def __init__(self) -> None:
        self.seen: list[tuple[float, Event]] = []

    def notify(self, event: Event) -> None:
        self.seen.append((trio.current_time(), event))


def ended(name: str = "r") -> RequestEnded:
    return RequestEnded(name, None, 0.0, 200, None, 0.0, None, None, at=1)


async def test_what_has_ended_is_told_in_order_a_quarter_of_a_second_later(autojump_clock: MockClock) -> None:
    collector = Collector()
    later = Later([collector])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(later.run)
        begin = trio.current_time()
        for at, name in ((1.0, "a"), (1.05, "b"), (1.5, "c")):
            await trio.sleep_until(begin + at)
            later.notify(ended(name))
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    told = [(at - begin, event.request_id) for at, event in collector.seen]
    assert told == [
        (pytest.approx(1 + EVERY_S), "a"),
        (pytest.approx(1 + EVERY_S), "b"),
        (1.5 + EVERY_S, "c"),
    ]


async def test_all_else_is_told_at_once() -> None:
    collector = Collector()
    later = Later([collector])
    bug, started = BugFound("r", "x", ValueError(), at=1), CallStarted("r", 0, at=1)
    for event in (ended(), bug, started):
        later.notify(event)
    assert [event for _, event in collector.seen] == [bug, started]
    later.catch_up()
    assert [event for _, event in collector.seen] == [bug, started, ended()]


async def test_who_wants_to_know_now_has_all_of_it_and_others_get_their_turns() -> None:
    collector = Collector()
    later = Later([collector])
    for number in range(3 * AT_ONCE + 1):
        later.notify(ended(str(number)))
    seen_by_others: list[int] = []

    async def other() -> None:
        while True:
            seen_by_others.append(len(collector.seen))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        await later.caught_up()
        nursery.cancel_scope.cancel()
    assert [event.request_id for _, event in collector.seen] == [str(n) for n in range(3 * AT_ONCE + 1)]
    steps = [after - before for before, after in pairwise(seen_by_others)]
    assert max(steps) <= 2 * AT_ONCE  # who comes first in a pass is chance


async def test_what_ended_before_it_ran_is_told(autojump_clock: MockClock) -> None:
    collector = Collector()
    later = Later([collector])
    later.notify(ended())
    with trio.move_on_after(1):
        await later.run()
    assert len(collector.seen) == 1
