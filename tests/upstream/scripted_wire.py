"""An upstream without a network: a wire that plays a script in virtual time."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx
import trio

from fanout.upstream.phases import Phase
from fanout.upstream.statistics import OriginStatistics
from fanout.upstream.transport import PoolTransport
from fanout.upstream.wire import Address, Wire

URL = "http://192.0.2.1/work"  # an address for documentation: nothing can answer there
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it trusts nobody, and so takes no time to make


@dataclass(frozen=True)
class Later:
    """Wait this long after the request, or after the piece before, then deliver."""

    delay_s: float
    piece: bytes | OSError


# What the wire delivers: bytes, b"" for the end, an error. One tuple a request.
Piece = bytes | OSError | Later
Script = Sequence[Piece]

HANGS = Later(math.inf, b"")


class ScriptedWire:
    """Plays the first script after the first request, and so on; `unasked` is there from the beginning.

    Pieces without a delay that follow a complete script stay for `receive_nowait` to find.
    """

    def __init__(self, *scripts: Script, unasked: Script = (), send_error: OSError | None = None) -> None:
        self._scripts = list(scripts)
        self._pending: list[Piece] = list(unasked)
        self.send_error = send_error
        self.has_ended = self.has_part = False
        self._on_news: Callable[[], bool] = lambda: False
        self.sent: list[bytes] = []
        self.closed: list[str] = []

    def arrive(self, piece: Piece) -> bool:
        """Deliver something that nobody asked for. Returns whether that woke a task."""
        self._pending.append(piece)
        return self._on_news()

    def on_news(self, tell: Callable[[], bool]) -> None:
        self._on_news = tell

    async def send_all(self, data: bytes) -> None:
        assert not self.closed
        self.sent.append(data)
        self._pending += self._scripts.pop(0) if self._scripts else [HANGS]
        if self.send_error is not None:
            raise self.send_error

    def send_now(self, data: bytes) -> bool:
        raise NotImplementedError("only TLS over a wire sends so, as it closes")

    async def receive(self) -> bytes:
        assert not self.closed
        piece = self._pending[0] if self._pending else HANGS
        await trio.sleep(piece.delay_s if isinstance(piece, Later) else 0)
        self._pending.pop(0)
        return _deliver(piece.piece if isinstance(piece, Later) else piece)

    def receive_nowait(self) -> bytes | None:
        assert not self.closed
        if not self._pending or isinstance(self._pending[0], Later):
            return None
        return _deliver(self._pending.pop(0))

    def close(self) -> None:
        self.closed.append("close")

    def abort(self) -> None:
        self.closed.append("abort")


def _deliver(piece: Piece) -> bytes:
    if isinstance(piece, OSError):
        raise piece
    assert isinstance(piece, bytes)
    return piece


class World:
    """A transport whose n-th connection is the n-th of `connections`: a wire, or why there is none."""

    def __init__(
        self, *connections: ScriptedWire | OSError, max_connections: int = 10, max_body_bytes: int = 1 << 20
    ) -> None:
        self._connections = list(connections)
        self.dialled: list[Address] = []
        self.phases: list[Phase] = []
        self.transport = PoolTransport(
            max_connections=max_connections,
            max_body_bytes=max_body_bytes,
            ssl_context=_NO_TLS,
            dial=self._dial,
            look_up=self._look_up,
        )

    async def _dial(self, address: Address) -> Wire:
        self.dialled.append(address)
        await trio.lowlevel.checkpoint()
        connection = self._connections.pop(0)
        if isinstance(connection, OSError):
            raise connection
        return connection

    async def _look_up(self, host: str, port: int) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        return [(socket.AF_INET, ("192.0.2.1", port))]

    async def get(self, method: str = "GET", url: str = URL) -> httpx.Response:
        """One call, read to its end; its phases are in `phases` afterwards."""
        self.phases.clear()
        extensions = {"fanout.phase": self.phases.append}
        response = await self.transport.handle_async_request(
            httpx.Request(method, url, extensions=extensions)
        )
        await response.aread()
        return response

    @property
    def origin(self) -> OriginStatistics:
        [origin] = self.transport.statistics().origins
        assert origin.open == origin.idle + origin.in_use - origin.connecting
        assert origin.opened == origin.open + sum(origin.closed.values())
        return origin
