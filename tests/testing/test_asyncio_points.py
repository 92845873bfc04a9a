"""Following asyncio code: its points, those of the tasks it starts, and a cancellation of the follower."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fanout.testing.asyncio_points import AsyncioPoints


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main)


async def wait_in_a_task() -> None:
    await asyncio.create_task(asyncio.sleep(0.001))


def test_what_is_cancelled_before_its_first_step_is_not_begun() -> None:
    points = AsyncioPoints(lambda nth: None)

    async def main() -> None:
        call = wait_in_a_task()
        task = asyncio.create_task(points.follow(call))
        task.cancel()
        await asyncio.wait([task])
        call.close()
        assert task.cancelled()
        assert asyncio.get_running_loop().get_task_factory() is None

    run(main())
    assert points.reached == 0


def test_a_cancellation_goes_into_the_code_that_is_followed_and_ends_the_counting() -> None:
    """At each point in turn; the result of the last is kept, as nothing is awaited after it."""
    n = reached = 1
    while n <= reached:
        caught: list[str] = []

        async def fetch(caught: list[str]) -> None:
            try:
                await wait_in_a_task()
            except asyncio.CancelledError:
                caught.append("fetch")
                raise

        async def main(n: int, caught: list[str]) -> int:
            points = AsyncioPoints(lambda nth: task.cancel() if nth == n else None)
            task = asyncio.create_task(points.follow(fetch(caught)))
            await asyncio.wait([task])
            counted = points.reached
            assert asyncio.get_running_loop().get_task_factory() is None
            await asyncio.create_task(asyncio.sleep(0.001))
            assert points.reached == counted
            assert task.cancelled() == bool(caught)
            return counted

        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            reached = runner.run(main(n, caught))
        assert caught == (["fetch"] if n <= reached else [])
        n += 1
    assert n > 4
