"""`make httpcore-leak`: the whole-stack sweep with httpx's own pool, until it finds the leak.

httpcore's `AsyncConnectionPool` stands in the place of ours, on the same wires. A slot that is neither idle
nor closed when its request is over is lost for the life of the pool.
"""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Iterable
from typing import Any

import click
import httpcore
import httpx
import trio

from fanout.upstream.connect import Dial
from fanout.upstream.resolver import LookUp
from fanout.upstream.statistics import OriginStatistics, TransportStatistics
from fanout.upstream.wire import Wire
from tests.sweep import stack
from tests.sweep.situations import ENDPOINTS, SITUATIONS
from tests.sweep.sweep import runs


class WireStream(httpcore.AsyncNetworkStream):
    """httpcore's view of a wire, with the checkpoints of its Trio backend."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - theirs
        try:
            return await self._wire.receive_some(max_bytes)
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
        """As `trio.open_tcp_stream`, which httpcore uses, does it: in a task of its own."""
        address = (await self._look_up(host, port))[-1]
        wires: list[Wire] = []
        errors: list[OSError] = []

        async def attempt() -> None:
            try:
                wires.append(await self._dial(address))
            except OSError as error:
                errors.append(error)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(attempt)
        except BaseException:
            for wire in wires:
                wire.close()
            raise
        if errors:
            raise httpcore.ConnectError(str(errors[0])) from errors[0]
        return WireStream(wires[0])


class HttpcoreTransport(httpx.AsyncHTTPTransport):
    """In the place of `PoolTransport`, with the same seams, and complete answers."""

    def __init__(
        self,
        *,
        max_connections: int,
        keepalive_expiry_s: float,
        ssl_context: ssl.SSLContext,
        dial: Dial,
        look_up: LookUp,
    ) -> None:
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

    def statistics(self) -> TransportStatistics:
        """`in_use`: what is neither idle nor closed. httpcore counts nothing else."""
        connections = self._pool.connections
        idle = sum(connection.is_idle() for connection in connections)
        in_use = sum(not connection.is_idle() and not connection.is_closed() for connection in connections)
        origin = OriginStatistics("httpcore", idle + in_use, idle, in_use, 0, idle + in_use, 0, 0, 0, {})
        return TransportStatistics((origin,), ())


@click.command()
def main() -> None:
    """Exit code 1 when no slot was lost: then a reason for a pool of our own is gone."""
    vars(stack)["PoolTransport"] = HttpcoreTransport
    tried = 0
    for situation, endpoint in itertools.product(SITUATIONS, ENDPOINTS):
        for action, n, wrong in runs(situation, endpoint):
            tried += 1
            lost = [what for what in wrong if what.startswith("slots: ")]
            if lost:
                click.echo(f"httpcore {httpcore.__version__} loses a slot in run {tried} of the sweep:")
                click.echo(f"{situation.name}, {endpoint}, {action} at point {n}: {lost[0]}")
                return
    click.echo(f"httpcore {httpcore.__version__} lost no slot in {tried} runs")
    raise SystemExit(1)


if __name__ == "__main__":
    main()
