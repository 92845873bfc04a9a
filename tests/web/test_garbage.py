"""Full collections: in quiet moments, and not for ever put off."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import trio
import trio.testing
from trio.testing import MockClock

from fanout.web.garbage import LOOK_EVERY_S, MAX_WAIT_S, QUIET_TASKS, collect_when_quiet, take_over

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


async def test_a_quiet_loop_collects_soon(autojump_clock: MockClock) -> None:
    with full_collections() as full_at:
        async with trio.open_nursery() as nursery:
            began_at = trio.current_time()
            nursery.start_soon(collect_when_quiet)
            await trio.sleep(2 * LOOK_EVERY_S + 1)
            nursery.cancel_scope.cancel()
    assert full_at == [began_at + LOOK_EVERY_S, began_at + 2 * LOOK_EVERY_S]


async def test_a_busy_loop_collects_late_and_not_never(autojump_clock: MockClock) -> None:
    with full_collections() as full_at:
        async with trio.open_nursery() as nursery:
            began_at = trio.current_time()
            for _ in range(QUIET_TASKS):
                nursery.start_soon(trio.sleep_forever)
            await nursery.start(_collect)
            kept = [[number] for number in range(200_000)]  # Python's own schedule would have collected
            await trio.sleep(MAX_WAIT_S + 1)
            nursery.cancel_scope.cancel()
    assert full_at == [began_at + MAX_WAIT_S]
    assert len(kept) == 200_000


async def _collect(task_status: trio.TaskStatus[None]) -> None:
    """Started once the first collection is done: what is kept after it is young."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect_when_quiet)
        await trio.testing.wait_all_tasks_blocked()
        task_status.started()
