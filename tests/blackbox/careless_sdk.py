"""A server whose calls go through an SDK that ignores its cancellation. Started by test_asyncio_bridge.py."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from fanout.config import load
from fanout.process.run import run_process
from fanout.race.events import Observer
from fanout.race.outcome import Success
from fanout.race.timings import CallTimings
from fanout.upstream.asyncio_call import AsyncioCall, open_bridge

ANSWERS_AFTER_S = 0.05
IGNORES_FOR_S = 1.0


async def answers(timings: CallTimings) -> Success:
    await asyncio.sleep(ANSWERS_AFTER_S)
    return Success(b'{"time": 50}')


async def ignores_its_cancellation(timings: CallTimings) -> Success:
    while timings.request_id.startswith("never"):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(IGNORES_FOR_S)
        if timings.request_id.startswith("bug"):
            raise KeyError("found long after the answer") from None
    return Success(b'{"time": 60000}')


@asynccontextmanager
async def open_calls(urls: Sequence[str], observer: Observer) -> AsyncIterator[Sequence[AsyncioCall]]:
    async with open_bridge(observer):
        yield [AsyncioCall(answers), AsyncioCall(ignores_its_cancellation)]


if __name__ == "__main__":
    sys.exit(run_process(load(os.environ, {}).settings, open_calls=open_calls))
