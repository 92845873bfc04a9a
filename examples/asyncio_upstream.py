"""A server whose upstreams are called through aiohttp, an asyncio-only client, over the asyncio bridge.

    pip install 'fanout-server[lab]'         trio-asyncio and aiohttp
    python examples/asyncio_upstream.py      its settings are those of `fanout serve`: FANOUT_UPSTREAMS, …

Read it from the bottom up: the program, what it opens, and one call. docs/bridge.md explains cancellation.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from fanout.config import SettingsError, load
from fanout.process.run import run_process
from fanout.race.events import Observer
from fanout.race.outcome import TOO_LATE, Cancelled, Failure, Success
from fanout.race.timings import CallTimings
from fanout.server.listeners import ListenError
from fanout.upstream.call import MAX_PAYLOAD_BYTES, is_valid_payload
from fanout.upstream.errors import BAD_PAYLOAD, BAD_STATUS, BROKEN, TOO_LARGE, UNREACHABLE
from fanout.upstream.phases import Phase

try:
    import aiohttp

    from fanout.upstream.asyncio_call import AsyncioCall, aio_as_trio, open_bridge
except ImportError as error:  # one line says what is missing, and the fix
    sys.exit(f"{error}. This example needs: pip install 'fanout-server[lab]'")

NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None)  # the handler's scope is the deadline
OK: Final = 200


async def fetch(
    session: aiohttp.ClientSession, url: str, timings: CallTimings
) -> Success | Failure | Cancelled:
    """One call, in asyncio. Errors of the client are failures; any other exception is a bug."""
    to_send = timings.headers_to_send()  # those of the trace, and how much time is left
    if to_send is None:
        return TOO_LATE
    headers = {name.decode(): value.decode() for name, value in to_send}
    status, body = None, b""
    timings.mark(Phase.WAIT)
    try:
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            timings.mark(Phase.RECEIVE)
            status = response.status
            if status != OK:
                return Failure(BAD_STATUS, status)
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > MAX_PAYLOAD_BYTES:
                    return Failure(TOO_LARGE, status)
    except aiohttp.ClientConnectorError:
        return Failure(UNREACHABLE)
    except aiohttp.ClientError:
        return Failure(BROKEN, status)
    return Success(body) if is_valid_payload(body) else Failure(BAD_PAYLOAD, status)


@asynccontextmanager
async def open_calls(urls: Sequence[str], observer: Observer) -> AsyncIterator[Sequence[AsyncioCall]]:
    """One call per URL. The bridge and the session are open around all requests: they are the service's."""
    async with open_bridge(observer), aio_as_trio(open_session()) as session:
        yield [AsyncioCall(partial(fetch, session, url)) for url in urls]


def open_session() -> aiohttp.ClientSession:
    # limit=0: the server admits no more requests than it can call for, so no call waits for a connection.
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=NO_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())


def main() -> int:
    loaded = load(os.environ, {})
    return run_process(loaded.settings, warnings=loaded.warnings, open_calls=open_calls)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (SettingsError, ListenError) as error:
        sys.exit(f"asyncio_upstream: {error}")
