"""Tiny raw upstreams on loopback: a handler gets each connection and does with it what it likes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio
import trustme

HOST = "localhost"


class RawConnection:
    """The server's end of one connection; `number` counts from 0 in the order of acceptance."""

    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        self.stream = stream
        self.number = number
        self._received = b""

    async def request(self) -> bytes | None:
        """The next request, head and body; `None` when the client has closed."""
        while b"\r\n\r\n" not in self._received:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            self._received += data
        head, _, rest = self._received.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        parts: list[bytes | bytearray] = [rest]
        missing = length - len(rest)
        while missing > 0:
            data = await self.stream.receive_some(65536)
            if not data:
                return None
            parts.append(data)
            missing -= len(data)
        body = b"".join(parts)
        self._received = body[length:]
        return head + b"\r\n\r\n" + body[:length]

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)


Handler = Callable[[RawConnection], Awaitable[None]]


class RawServer:
    """`living`: connections whose handler is running; `accepted`: how many there were."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.living = 0
        self.accepted = 0

    def url(self, path: str = "/") -> str:
        return self.origin + path


@asynccontextmanager
async def raw_server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Serve on a free port of 127.0.0.1 until the block ends; with `tls`, under the name `localhost`."""

    async def serve(stream: trio.SocketStream) -> None:
        number = server.accepted
        server.accepted += 1
        server.living += 1
        secured = (
            stream if tls is None else trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        )
        try:
            await handler(RawConnection(secured, number))
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError):
            pass
        finally:
            server.living -= 1
            stream.socket.close()

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, serve, 0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]
        server = RawServer(f"http://127.0.0.1:{port}" if tls is None else f"https://{HOST}:{port}")
        yield server
        nursery.cancel_scope.cancel()


class Authority:
    """A private authority, a server's context for `localhost`, and a client's that trusts it."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(HOST, "127.0.0.1").configure_cert(self.server)
        self.server.set_alpn_protocols(["http/1.1"])
        self.client = ssl.create_default_context()
        self.ca.configure_trust(self.client)


def answer(body: bytes, *headers: bytes) -> bytes:
    """A complete 200 with a content-length."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def echo_path(connection: RawConnection) -> None:
    """Answer every request at once with its path."""
    while (request := await connection.request()) is not None:
        await connection.send(answer(request.split(b" ")[1]))
