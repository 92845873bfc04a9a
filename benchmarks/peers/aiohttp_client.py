"""The client of the peers that call the upstream with aiohttp: as the library comes, or tuned.

Tuned: nothing is decompressed and nothing compressed is asked for, no other header is sent unasked, and the
URL is parsed once. Always: no limit of connections, no cookies, no timeout of its own (the handler has one).
"""

from __future__ import annotations

import ssl

import aiohttp
import yarl
from rules import is_success

AS_IT_IS = {"Accept-Encoding": "identity"}
SENT_UNASKED = ("User-Agent", "Accept")


def open_session(trust: ssl.SSLContext | bool, is_tuned: bool) -> aiohttp.ClientSession:
    """A session to be entered as a context. It must be made in the event loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=trust),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=not is_tuned,
        headers=AS_IT_IS if is_tuned else None,
        skip_auto_headers=SENT_UNASKED if is_tuned else None,
    )


def target(upstream: str, is_tuned: bool) -> str | yarl.URL:
    """What a call is given as its URL."""
    return yarl.URL(upstream) if is_tuned else upstream


async def call(session: aiohttp.ClientSession, url: str | yarl.URL) -> bytes | None:
    """One upstream call: its payload, or `None` if it failed."""
    try:
        async with session.get(url) as response:
            body = await response.read()
    except aiohttp.ClientError:
        return None
    return body if is_success(response.status, body) else None
