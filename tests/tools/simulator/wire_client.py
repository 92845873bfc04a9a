"""A client that sees the bytes, and how a connection ends; and a simulator to point it at."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import trio
import trustme

from fanout.tools.simulator import CallRecord, Simulator, SimulatorSettings

End = Literal["fin", "rst", "cut"]
QUICK = SimulatorSettings(min_delay_ms=0, max_delay_ms=0, faults={})


class Tls:
    """Both sides of TLS with a private authority. Making keys is slow: once a session."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)


@dataclass(frozen=True)
class Served:
    """A simulator that is being served on loopback. `tls` says how it speaks."""

    simulator: Simulator
    port: int
    tls: Tls | None = None

    @asynccontextmanager
    async def connected(self, *, handshake: bool = True) -> AsyncIterator[Client]:
        client = await self.connect(handshake=handshake)
        try:
            yield client
        finally:
            client.close()

    async def connect(self, *, handshake: bool = True) -> Client:
        """A new connection, its handshake done if it is TLS and not told otherwise. The test closes it."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        if self.tls is None or not handshake:
            return Client(stream, stream)
        tls_stream = trio.SSLStream(stream, self.tls.client, server_hostname="localhost")
        try:
            await tls_stream.do_handshake()
        except BaseException:
            stream.socket.close()
            raise
        return Client(tls_stream, stream)

    async def ask(self, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        """One request on a connection of its own; status and JSON."""
        async with self.connected() as client:
            return await client.ask(method, target, body)


class Client:
    def __init__(self, stream: trio.abc.Stream, transport: trio.SocketStream) -> None:
        self._stream = stream
        self._transport = transport
        self._socket = transport.socket

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def get(self, target: str) -> None:
        await self.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    async def ask(self, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        """A request and its answer, which must have a length."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        await self.send(head.encode() + data)
        status, answer = await self.answer()
        return status, json.loads(answer) if answer else None

    async def answer(self) -> tuple[int, bytes]:
        """The next answer with a length: status and body."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await self.exactly(1)
        fields = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        length = next(int(value) for name, _, value in fields if name == b"Content-Length")
        return int(head.split()[1]), await self.exactly(length)

    async def exactly(self, count: int) -> bytes:
        """So many bytes. A connection that ends before is an error."""
        data = b""
        while len(data) < count:
            piece = await self._stream.receive_some(count - len(data))
            assert piece, f"the connection ended after {data!r}"
            data += piece
        return data

    async def to_end(self) -> tuple[bytes, End]:
        """All bytes until the connection ends, and how it did. Without TLS, a cut looks like `fin`."""
        data = b""
        while True:
            piece = await self.piece()
            if isinstance(piece, str):
                return data, piece
            data += piece

    async def to_silence(self, seconds: float) -> tuple[bytes, End | Literal["silent"]]:
        """The same, but nothing for that time is an end, too."""
        data = b""
        while True:
            piece: bytes | End | Literal["silent"] = "silent"
            with trio.move_on_after(seconds):
                piece = await self.piece()
            if isinstance(piece, str):
                return data, piece
            data += piece

    async def piece(self) -> bytes | End:
        """Some bytes, or how the connection ended."""
        try:
            return bytes(await self._stream.receive_some(65536)) or "fin"
        except trio.BrokenResourceError as broken:
            cause = broken.__cause__
            while not isinstance(cause, OSError):
                assert cause is not None
                cause = cause.__cause__
            if isinstance(cause, ssl.SSLError):
                assert isinstance(cause, ssl.SSLEOFError), cause
                return "cut"
            assert cause.errno == errno.ECONNRESET
            return "rst"

    def close(self) -> None:
        """FIN, as long as everything has been read."""
        self._socket.close()

    def reset(self) -> None:
        """RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def half_close(self) -> None:
        """FIN, and still willing to read."""
        self._socket.shutdown(socket.SHUT_WR)

    async def send_raw(self, data: bytes) -> None:
        """Bytes past TLS."""
        await self._transport.send_all(data)


@asynccontextmanager
async def serving(
    simulator: Simulator | None = None, *, tls: Tls | None = None, connection_faults: bool = True
) -> AsyncIterator[Served]:
    """A simulator on a free port of loopback. No bug of it goes unseen."""
    bugs: list[BaseException] = []
    simulator = simulator or Simulator(QUICK, on_crash=bugs.append)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    serve = partial(
        simulator.serve,
        listeners,
        ssl_context=None if tls is None else tls.server,
        connection_faults=connection_faults,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        yield Served(simulator, port, tls)
        nursery.cancel_scope.cancel()
    assert not bugs, bugs


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come true soon."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - the simulator tells nobody when its statistics change
            await trio.sleep(0.001)


async def ended(simulator: Simulator, call: int) -> CallRecord:
    """The record of a call, once it has ended."""
    await until(lambda: any(record.id == call and record.end != "open" for record in simulator.calls()))
    return next(record for record in simulator.calls() if record.id == call)
