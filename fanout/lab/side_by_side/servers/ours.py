"""The real server with other calls: `python -m fanout.lab.side_by_side.servers.ours [swallows] [bridge]`.

swallows: each call tries once more when it is cancelled. bridge: each is made by aiohttp, an asyncio library,
over the asyncio bridge. The settings are those of `fanout serve`, from the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import httpx
import trio

from fanout.config import load
from fanout.lab.side_by_side.retry import tried_twice
from fanout.lab.side_by_side.servers import OK, SWALLOWS
from fanout.process import service
from fanout.process.run import run_process
from fanout.race.events import Observer
from fanout.race.outcome import Cancelled, Failure, Success
from fanout.race.timings import CallTimings
from fanout.upstream.call import UpstreamCall

if TYPE_CHECKING:
    import aiohttp

    from fanout.upstream.asyncio_call import AsyncioCall

Made = Callable[[CallTimings], Coroutine[Any, Any, Success | Failure | Cancelled]]
BRIDGE = "bridge"


def swallowing(call: Made) -> Made:
    return lambda timings: tried_twice(partial(call, timings))


def swallowing_call(transport: httpx.AsyncBaseTransport, url: str) -> Made:
    return swallowing(UpstreamCall(transport, url))


@asynccontextmanager
async def bridged_calls(
    urls: Sequence[str], observer: Observer, *, is_swallowing: bool
) -> AsyncIterator[Sequence[AsyncioCall]]:
    import aiohttp  # extras
    from trio_asyncio import aio_as_trio

    from fanout.upstream.asyncio_call import CLOSE_WITHIN_S, AsyncioCall, open_bridge

    async def open_session() -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
        return aiohttp.ClientSession(timeout=timeout)  # noqa: ASYNC910 - asyncio has no checkpoints

    async with open_bridge(observer):
        session = await aio_as_trio(open_session)()
        fetches = [partial(fetch, session, url) for url in urls]
        try:
            yield [AsyncioCall(swallowing(each) if is_swallowing else each) for each in fetches]
        finally:
            with trio.move_on_after(CLOSE_WITHIN_S, shield=True):
                await aio_as_trio(session.close)()


async def fetch(  # noqa: ASYNC910 - as above
    session: aiohttp.ClientSession, url: str, timings: CallTimings
) -> Success | Failure:
    from aiohttp import ClientError

    try:
        async with session.get(url) as response:
            body = await response.read()
    except ClientError:
        return Failure("unreachable")  # noqa: ASYNC910 - as above
    return Success(body) if response.status == OK else Failure("bad_status", response.status)


def main(options: Sequence[str]) -> int:
    settings = load(os.environ, {}).settings
    is_swallowing = SWALLOWS in options
    if BRIDGE in options:
        return run_process(settings, open_calls=partial(bridged_calls, is_swallowing=is_swallowing))
    with patch.object(service, "UpstreamCall", swallowing_call if is_swallowing else UpstreamCall):
        return run_process(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
