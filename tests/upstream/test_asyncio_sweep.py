"""G7 behind the bridge: cancelled at any asyncio step, aiohttp loses no slot, and leaves no socket or task."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import pytest
import trio
from trio_asyncio import aio_as_trio

from fanout.race.outcome import Failure, Success
from fanout.race.timings import CallTimings
from fanout.testing.asyncio_points import AsyncioPoints
from fanout.upstream.asyncio_call import AsyncioCall, open_bridge
from tests.upstream.raw_server import Authority, raw_server
from tests.upstream.reports import Reports
from tests.upstream.test_cancel_sweep import in_pieces, open_files, until

AUTHORITY = Authority()
NEXT_CALL_WITHIN_S = 2


async def fetch(session: aiohttp.ClientSession, url: str, timings: CallTimings) -> Success | Failure:
    async with session.get(url) as response:
        return Success(await response.read())


@asynccontextmanager
async def one_connection(client: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    """A pool that a lost slot makes useless."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1, ssl=client))
    async with aio_as_trio(session):
        yield session


@pytest.mark.parametrize("is_warm", [False, True], ids=["new", "warm"])
@pytest.mark.parametrize("tls", [None, AUTHORITY.server], ids=["plain", "tls"])
async def test_a_cancel_at_any_asyncio_step_loses_nothing(tls: ssl.SSLContext | None, is_warm: bool) -> None:
    n = reached = 0
    while reached >= n:  # the call came to the n-th point
        n += 1
        async with raw_server(in_pieces, tls) as server:
            reached = await cancel_one(server.url().replace("localhost", "127.0.0.1"), n, is_warm=is_warm)
    assert n > 10


async def cancel_one(url: str, n: int, *, is_warm: bool) -> int:
    """Returns how many points the call came to."""
    files, reports = open_files(), Reports()
    async with open_bridge(reports):
        loop = asyncio.get_running_loop()
        async with one_connection(AUTHORITY.client) as session:
            call = AsyncioCall(partial(fetch, session, url))
            if is_warm:
                await call(CallTimings("warm", 0))
            points = AsyncioPoints(lambda nth: scope.cancel() if nth == n else None)
            timings = CallTimings("swept", 0)
            with trio.CancelScope() as scope:
                await AsyncioCall(points.of(partial(fetch, session, url)))(timings)
            assert timings.left == ()
            assert asyncio.all_tasks(loop) == set()
            with trio.fail_after(NEXT_CALL_WITHIN_S):
                assert await call(CallTimings("next", 0)) == Success(b"abc")
    await until(lambda: open_files() <= files)
    assert reports.bugs == []
    return points.reached
