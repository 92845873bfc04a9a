"""Cancels one call at each of its points: aiohttp, httpx and httpx2 behind the asyncio bridge, and ours.

The pool has room for one connection, so a slot that is lost makes the next call hang. `benchmarks/bridge.py`
makes the table of docs/bridge.md of it.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Final

import aiohttp
import trio

from fanout.race.outcome import Success
from fanout.race.race import Call
from fanout.race.timings import CallTimings
from fanout.testing import cancel_at
from fanout.testing.asyncio_points import AsyncioPoints
from fanout.upstream.asyncio_call import AsyncioCall, aio_as_trio, open_bridge
from fanout.upstream.call import UpstreamCall
from fanout.upstream.transport import PoolTransport
from tests.upstream.raw_server import Authority, raw_server
from tests.upstream.reports import Reports
from tests.upstream.test_cancel_sweep import in_pieces, open_files, until

AUTHORITY: Final = Authority()
HANGS_S: Final = 0.5
GRACE_MS: Final = 2000  # what is found must not depend on how busy the machine is
Fetch = Callable[[str], Coroutine[Any, Any, bytes]]
OpenClient = Callable[[], AbstractAsyncContextManager[Fetch]]


@asynccontextmanager
async def over_aiohttp() -> AsyncIterator[Fetch]:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1, ssl=AUTHORITY.client))

    async def fetch(url: str) -> bytes:
        async with session.get(url) as response:
            return await response.read()

    async with aio_as_trio(session):
        yield fetch


@asynccontextmanager
async def over_httpx(name: str) -> AsyncIterator[Fetch]:
    """name: `httpx`, or its fork `httpx2`."""
    httpx = import_module(name)
    client = httpx.AsyncClient(
        limits=httpx.Limits(max_connections=1), timeout=None, verify=AUTHORITY.client, trust_env=False
    )

    async def fetch(url: str) -> bytes:
        body: bytes = (await client.get(url)).content
        return body

    async with aio_as_trio(client):
        yield fetch


CLIENTS: Final[dict[str, OpenClient]] = {
    "aiohttp": over_aiohttp,
    "httpx": partial(over_httpx, "httpx"),
    "httpx2": partial(over_httpx, "httpx2"),
}


@dataclass
class Found:
    """points: how many there were. The rest: at how many of them something was lost or left.

    sockets_left: with the client closed. tasks_left: of asyncio, as the call ended.
    """

    points: int = 0
    slots_lost: int = 0
    sockets_left: int = 0
    tasks_left: int = 0
    bugs: list[BaseException] = field(default_factory=list)


CancelOne = Callable[[str, int, Found], Coroutine[Any, Any, int]]


async def sweep(cancel_one: CancelOne, tls: ssl.SSLContext | None) -> Found:
    """cancel_one: cancels a call to a URL at its n-th point, and returns how many points it came to."""
    found = Found()
    while True:
        files = open_files()
        async with raw_server(in_pieces, tls) as server:
            url = server.url().replace("localhost", "127.0.0.1")
            reached = await cancel_one(url, found.points + 1, found)
        found.sockets_left += not await _are_closed(files)
        if reached <= found.points:
            return found
        found.points += 1


async def _are_closed(files: int) -> bool:
    """files: how many were open before."""
    with trio.move_on_after(HANGS_S):
        await until(lambda: open_files() <= files)
        return True
    gc.collect()  # with it goes what httpx has lost
    return False


async def cancel_behind_the_bridge(
    open_client: OpenClient, is_warm: bool, url: str, n: int, found: Found
) -> int:
    reports = Reports()
    async with open_bridge(reports), open_client() as fetch:

        async def call(timings: CallTimings) -> Success:
            return Success(await fetch(url))

        if is_warm:
            await AsyncioCall(call)(CallTimings("warm", 0))
        points = AsyncioPoints(lambda nth: scope.cancel() if nth == n else None)
        timings = CallTimings("swept", 0)
        with trio.CancelScope() as scope:
            await AsyncioCall(points.of(call), grace_ms=GRACE_MS)(timings)
        if scope.cancel_called:
            alive = asyncio.all_tasks(asyncio.get_running_loop())
            found.tasks_left += bool(timings.left or alive)
            found.slots_lost += not await _works(AsyncioCall(call))
    found.bugs += reports.bugs
    return points.reached


async def cancel_ours(is_warm: bool, url: str, n: int, found: Found) -> int:
    async with PoolTransport(max_connections=1, ssl_context=AUTHORITY.client) as transport:
        call = UpstreamCall(transport, url)
        if is_warm:
            await call(CallTimings("warm", 0))
        reached = await cancel_at(partial(call, CallTimings("swept", 0)), n)
        if reached >= n:
            found.slots_lost += not await _works(call)
    return reached


async def _works(call: Call) -> bool:
    with trio.move_on_after(HANGS_S):
        await call(CallTimings("next", 0))
        return True
    return False


async def sweep_client(name: str, tls: ssl.SSLContext | None, *, is_warm: bool) -> Found:
    """name: one of `CLIENTS`, or `ours`. Raises `ImportError` when its library is not installed."""
    if name == "ours":
        return await sweep(partial(cancel_ours, is_warm), tls)
    return await sweep(partial(cancel_behind_the_bridge, CLIENTS[name], is_warm), tls)
