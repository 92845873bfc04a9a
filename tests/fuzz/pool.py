"""What the pool makes of all that an upstream sends: each call ends, and the counts add up."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import Final

import httpx

from fanout.upstream.transport import PoolTransport
from fanout.upstream.wire import Address, Wire

_URL: Final = "http://192.0.2.1/"  # an address for documentation: nothing can answer there
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_MAX_BODY_BYTES: Final = 1000


class _Wire:
    """Delivers its pieces one after the other, then the end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = list(pieces)
        self.has_ended = self.has_part = False
        self.is_closed = False

    def on_news(self, tell: Callable[[], bool]) -> None: ...

    async def send_all(self, data: bytes) -> None:
        assert not self.is_closed

    def send_now(self, data: bytes) -> bool:
        raise NotImplementedError("only TLS over a wire sends so, as it closes")

    async def receive(self) -> bytes:
        assert not self.is_closed
        return self._pieces.pop(0) if self._pieces else b""

    def receive_nowait(self) -> bytes | None:
        return None

    def close(self) -> None:
        self.is_closed = True

    abort = close


async def two_calls(method: str, pieces: Sequence[bytes]) -> None:
    """Two calls, the second on the same connection if it was kept. Raises for what may not happen."""
    wire = _Wire(pieces)
    wires = [wire]

    async def dial(address: Address) -> Wire:
        if not wires:
            raise ConnectionRefusedError
        return wires.pop()

    transport = PoolTransport(
        max_connections=1, max_body_bytes=_MAX_BODY_BYTES, ssl_context=_NO_TLS, dial=dial
    )
    for _ in range(2):
        try:
            response = await transport.handle_async_request(httpx.Request(method, _URL))
            assert 200 <= response.status_code <= 999
            assert len(response.content) <= _MAX_BODY_BYTES
        except (httpx.TransportError, httpx.DecodingError):
            pass
        [origin] = transport.statistics().origins
        assert origin.in_use == origin.connecting == 0
        assert origin.opened == origin.open + sum(origin.closed.values())
        if not origin.idle:
            assert wire.is_closed
            break
