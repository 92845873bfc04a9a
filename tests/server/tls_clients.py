"""Clients over TLS."""

from __future__ import annotations

import ssl

import trio
import trustme

from tests.server.serving import Client, SocketWorld


def client_context(authority: trustme.CA, *alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


async def over_tls(
    world: SocketWorld, authority: trustme.CA, *alpn: str
) -> trio.SSLStream[trio.SocketStream]:
    raw = (await world.connect()).stream
    assert isinstance(raw, trio.SocketStream)
    context = client_context(authority, *alpn)
    stream = trio.SSLStream(raw, context, server_hostname="127.0.0.1", https_compatible=True)
    await stream.do_handshake()
    return stream


async def ask(stream: trio.abc.Stream, data: bytes) -> tuple[int, dict[str, str], bytes]:
    return await Client(stream).ask(data)  # type: ignore[arg-type]  # any stream will do
