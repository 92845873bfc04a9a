"""The bridge: asyncio calls in Trio's time. It needs the extra `asyncio`."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
import trio.testing

from fanout.lab.side_by_side.calls import bug_log
from fanout.lab.side_by_side.observed import Observed
from fanout.lab.side_by_side.situations import Situation
from fanout.lab.side_by_side.trio_world import TrioWorld, watch
from fanout.lab.side_by_side.variants import Fanout
from fanout.lab.side_by_side.variants.ours import Log
from fanout.upstream.asyncio_call import open_bridge


class BridgeWorld(TrioWorld):
    """Calls are asyncio's, the request is Trio's, and the tasks that either leaves are counted."""

    cancelled = asyncio.CancelledError

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._loop = asyncio.get_event_loop()  # trio-asyncio's; a Trio task runs outside of it
        self._before: set[asyncio.Task[Any]] = asyncio.all_tasks(self._loop)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def shielded(self, function: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            await function()

        task = asyncio.create_task(run())
        await asyncio.shield(task)

    def left(self) -> int:
        return super().left() + len(asyncio.all_tasks(self._loop) - self._before)


def observe(function: Fanout, situation: Situation, endpoint: str, path: str) -> Observed:
    """Run a variant once, in a loop and with a bridge of its own."""
    with bug_log() as log:
        observed = trio.run(
            partial(_observe, function, situation, endpoint, path),
            clock=trio.testing.MockClock(autojump_threshold=0),
        )
        gc.collect()
        observed.bugs_logged = log.bugs
    return observed


async def _observe(function: Fanout, situation: Situation, endpoint: str, path: str) -> Observed:
    async with open_bridge(Log()):
        return await watch(BridgeWorld(path), function, situation, endpoint)
