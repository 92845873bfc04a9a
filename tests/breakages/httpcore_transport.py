"""httpx's own pool, httpcore's, in the place of ours: on the same wires, in sweep and simulation."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx
import trio

from fanout.upstream.connect import Dial
from fanout.upstream.resolver import LookUp
from fanout.upstream.statistics import OriginStatistics, TransportStatistics
from fanout.upstream.wire import Wire

_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class WireStream(httpcore.AsyncNetworkStream):
    """httpcore's view of a wire, with the checkpoints of its Trio backend."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - theirs
        try:
            return await self._wire.receive()
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - theirs
        if not buffer:
            return
        await trio.lowlevel.checkpoint()
        try:
            await self._wire.send_all(buffer)
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._wire.close()
        await trio.lowlevel.checkpoint()

    def get_extra_info(self, info: str) -> Any:
        return None


class WireBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, dial: Dial, look_up: LookUp) -> None:
        self._dial = dial
        self._look_up = look_up

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - theirs
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect and shake hands, as for `https`, which the real upstream is.

        The last step of a handshake is a send. It is done before its checkpoint, which Trio shields then: a
        cancel that comes meanwhile is heard of at the next one. Without TLS, `trio.open_tcp_stream` hears of
        it at once, and closes.
        """
        address = (await self._look_up(host, port))[-1]
        try:
            wire = await self._dial(address)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        await trio.lowlevel.cancel_shielded_checkpoint()
        return WireStream(wire)


class HttpcoreTransport(httpx.AsyncHTTPTransport):
    """In the place of `PoolTransport`, with the same seams, and complete answers.

    What only ours has is ignored: names to look up ahead, and a limit on the body.
    """

    def __init__(
        self,
        *,
        max_connections: int,
        dial: Dial,
        look_up: LookUp,
        keepalive_expiry_s: float | None = None,
        ssl_context: ssl.SSLContext = _NO_TLS,
        origins: Iterable[str] = (),
        max_body_bytes: int = 0,
    ) -> None:
        """keepalive_expiry_s: by the wall clock. `None` keeps a run in virtual time the same each time."""
        super().__init__(verify=ssl_context)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context,
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=keepalive_expiry_s,
            network_backend=WireBackend(dial, look_up),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As `httpx.AsyncClient` does it: read, and in any case close."""
        response = await super().handle_async_request(request)
        response.request = request
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    def connections_in_use(self) -> int:
        """What is neither idle nor closed: a call has it, or it is lost."""
        return sum(not c.is_idle() and not c.is_closed() for c in self._pool.connections)

    def statistics(self) -> TransportStatistics:
        """httpcore counts nothing; this is what can be counted in its pool."""
        idle = sum(connection.is_idle() for connection in self._pool.connections)
        in_use = self.connections_in_use()
        origin = OriginStatistics("httpcore", idle + in_use, idle, in_use, 0, idle + in_use, 0, 0, 0, 0, {})
        return TransportStatistics((origin,), ())
