"""Full collections: when there may be something to collect, and in a quiet moment if it can wait."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

import trio
import trio.testing
from trio.testing import MockClock

from fanout.web.garbage import A_TASK, LOOK_EVERY_S, MANY, QUIET_TASKS, SOME, collect_when_quiet, take_over

OLDEST = 2


@contextmanager
def full_collections() -> Iterator[list[float]]:
    """When there was a full collection, on Trio's clock. What is set for the process is undone afterwards."""
    at: list[float] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == OLDEST:
            at.append(trio.current_time())

    take_over()
    gc.callbacks.append(note)
    try:
        yield at
    finally:
        gc.callbacks.remove(note)
        gc.enable()
        gc.unfreeze()


async def collect_beside(tasks: int, *, makes: int, keeps: bool = False) -> list[float]:
    """Seconds from the moment that so many objects were made to each full collection, in 600 s."""
    with full_collections() as full_at:
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(collect_when_quiet)
            await trio.sleep(10.3 * LOOK_EVERY_S)
            made_at = trio.current_time()
            kept = [[number] for number in range(makes)]
            if not keeps:
                kept.clear()
            await trio.sleep(600)
            nursery.cancel_scope.cancel()
    return [ceil(at - made_at) for at in full_at]


async def test_what_comes_and_goes_is_no_reason_to_collect(autojump_clock: MockClock) -> None:
    assert await collect_beside(0, makes=MANY) == []


async def test_a_quiet_loop_collects_once_when_something_stays(autojump_clock: MockClock) -> None:
    assert await collect_beside(0, makes=SOME, keeps=True) == [1]
    assert await collect_beside(0, makes=SOME // 2, keeps=True) == []


async def test_a_busy_loop_collects_only_when_it_must(autojump_clock: MockClock) -> None:
    assert await collect_beside(QUIET_TASKS, makes=MANY // 2, keeps=True) == []
    assert await collect_beside(QUIET_TASKS, makes=MANY + A_TASK * (QUIET_TASKS + 20), keeps=True) == [1]


async def test_what_is_in_flight_is_no_reason_to_collect(autojump_clock: MockClock) -> None:
    """It would make late what is in flight."""
    tasks = 10_000
    assert await collect_beside(tasks, makes=A_TASK * tasks, keeps=True) == []


async def test_garbage_is_freed_however_busy_the_loop_is(autojump_clock: MockClock) -> None:
    """As callers make it who ask for what is no timeout, a hundred thousand times a second."""

    class Cycle:
        alive = 0

        def __init__(self) -> None:
            self.me = self
            Cycle.alive += 1

        def __del__(self) -> None:
            Cycle.alive -= 1

    most = 0
    with full_collections():
        async with trio.open_nursery() as nursery:
            for _ in range(QUIET_TASKS):
                nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(collect_when_quiet)
            await trio.sleep(LOOK_EVERY_S / 2)  # never in the tick of a look: their order would be chance
            for _ in range(20):
                await trio.sleep(LOOK_EVERY_S)
                for _ in range(100_000):
                    Cycle()
                most = max(most, Cycle.alive)
            nursery.cancel_scope.cancel()
    assert most <= MANY + A_TASK * (QUIET_TASKS + 20) + 100_000  # of the second in which it is noticed
