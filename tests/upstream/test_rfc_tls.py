"""TLS to an upstream ends as RFC 9112 9.8 has it. On real sockets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import trio

from tests.upstream.raw_server import Authority, RawConnection, answer
from tests.upstream.test_tls import trusting

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Upstream:
    """It answers one request per connection, except for `/hangs`, and notes how each connection ends.

    It is no lenient reader of HTTPS: a bare FIN is an error to it.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.url = ""
        self.ends: list[str] = []
        self.has_request = trio.Event()
        self.has_ended = trio.Event()
        self._context = context

    async def serve(self, stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, self._context, server_side=True)
        try:
            connection = RawConnection(tls, 0)
            request = await connection.request()
            self.has_request.set()
            if b"/hangs" not in (request or b""):
                await connection.send(answer(b"{}"))
            self.ends.append("close_notify" if await tls.receive_some() == b"" else "data")
        except trio.BrokenResourceError as error:
            is_bare = isinstance(error.__cause__, ssl.SSLError)
            self.ends.append("bare FIN" if is_bare else "reset")
        self.has_ended.set()


@asynccontextmanager
async def serving(version: str) -> AsyncIterator[tuple[Upstream, Authority]]:
    authority = Authority()
    authority.server.minimum_version = authority.server.maximum_version = VERSIONS[version]
    upstream = Upstream(authority.server)
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, upstream.serve, 0, host="127.0.0.1")
        )
        upstream.url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield upstream, authority
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_idle_connection_that_is_closed_ends_with_close_notify(version: str) -> None:
    """RFC 9112 9.8: clients MUST send a closure alert before closing the connection."""
    async with serving(version) as (upstream, authority):
        transport = trusting(authority.client)
        request = httpx.Request("GET", upstream.url + "/")
        assert (await transport.handle_async_request(request)).content == b"{}"
        await transport.aclose()
        with trio.fail_after(5):
            await upstream.has_ended.wait()
    assert upstream.ends == ["close_notify"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_cancelled_call_resets_its_connection_and_says_nothing(version: str) -> None:
    """G6: the reset is what tells the upstream. A close_notify would say that all was well."""
    async with serving(version) as (upstream, authority):
        transport = trusting(authority.client)
        request = httpx.Request("GET", upstream.url + "/hangs")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(transport.handle_async_request, request)
            await upstream.has_request.wait()
            nursery.cancel_scope.cancel()
        with trio.fail_after(5):
            await upstream.has_ended.wait()
    assert upstream.ends == ["reset"]
