"""Serves an app on listeners, from the start to the end of the last connection.

Hypercorn provides the configuration, the TLS context and the lifespan. The driver handles the connections.
`tests/server/test_names.py` checks every name of hypercorn's that is used.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan

from fanout.loop.turns import Turns
from fanout.server.accept import Begin, accept_connections
from fanout.server.asgi import App
from fanout.server.certificates import Certificate
from fanout.server.connection import Connection, State
from fanout.server.driver import Driver
from fanout.server.http1 import Http1
from fanout.server.http2 import Http2
from fanout.server.statistics import End
from fanout.server.tls import STEPS_PER_ITERATION, TlsTransport
from fanout.server.transport import SocketTransport, Transport

_MAX_UNSENT_BYTES: Final = 16 * 1024


async def serve(
    app: App,
    driver: Driver,
    listeners: Sequence[socket.socket],
    *,
    certificate: Certificate | None = None,
    shutdown: Callable[[], Awaitable[None]],
    grace_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on listening sockets until `shutdown` returns; then drain, for at most `grace_s` seconds.

    With a `certificate` the listeners speak TLS: HTTP/1.1, and HTTP/2 over ALPN.
    """
    config = _configure(certificate)
    context = config.create_ssl_context()  # none without a certificate
    if context is not None:  # hypercorn clears all options, and RFC 8446 D.4 demands what this one does
        context.options |= ssl.OP_ENABLE_MIDDLEBOX_COMPAT
    state: dict[str, Any] = {}
    lifespan = Lifespan(ASGIWrapper(app), config, state)
    connections = Connections(app, driver, state)
    async with trio.open_nursery() as living:
        await living.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        living.start_soon(driver.run)
        async with trio.open_nursery() as open_connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    begin = partial(connections.begin, open_connections, context)
                    accepting.start_soon(_accept, listener, begin)
                task_status.started()
                await shutdown()
                accepting.cancel_scope.cancel(reason="the server drains")
            begin_drain(driver, open_connections, grace_s)
        await lifespan.wait_for_shutdown()
        living.cancel_scope.cancel(reason="the last connection has ended")


def begin_drain(driver: Driver, connections: trio.Nursery, grace_s: float) -> None:
    """Drain, and after `grace_s` seconds end the connections that are still open."""
    connections.cancel_scope.deadline = trio.current_time() + grace_s
    driver.drain()


def _configure(certificate: Certificate | None) -> Config:
    """Hypercorn's configuration. Its timeouts and limits do not count: the driver has its own."""
    config = Config()
    config.errorlog = logging.getLogger("hypercorn.error")
    if certificate is not None:
        config.certfile, config.keyfile = str(certificate.chain), str(certificate.key)
    return config


async def _accept(listener: socket.socket, begin: Begin) -> None:
    # Accepted sockets inherit these: no wait for an ACK, and 16 KiB of a slow client's answers in the kernel.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MAX_UNSENT_BYTES)
    await accept_connections(listener, begin)


class Connections:
    """Begins connections: `Http1` or `Http2`, each within `Driver.hold`."""

    def __init__(self, app: App, driver: Driver, state: dict[str, Any]) -> None:
        self._app = app
        self._driver = driver
        self._state = state
        self._turns = Turns(STEPS_PER_ITERATION)

    async def hold(self, transport: Transport) -> None:
        """Serve a connection over any transport to its end: HTTP/2 if its handshake agrees on that."""
        await self._driver.hold(transport, self._serve)

    def begin(self, nursery: trio.Nursery, tls: ssl.SSLContext | None, sock: socket.socket) -> None:
        """Run a connection in `nursery`, over TLS if there is a context. It owns the socket from here on."""
        nursery.start_soon(self._run, tls, sock, name="connection")

    async def _run(self, tls: ssl.SSLContext | None, sock: socket.socket) -> None:
        with self._driver.guard, sock:
            transport: Transport = SocketTransport(sock)
            if tls is not None:
                transport = TlsTransport(transport, tls, self._turns)
            await self.hold(transport)

    async def _serve(self, connection: Connection) -> None:
        if connection.transport.scheme == "https":
            connection.wait(State.HANDSHAKE, self._driver.limits.handshake_timeout_s)
            try:
                connection.is_http2 = await connection.transport.handshake() == "h2"
            except trio.BrokenResourceError:
                connection.end = End.BROKEN_HANDSHAKE
                raise
        protocol = Http2 if connection.is_http2 else Http1
        await protocol(self._driver, connection, self._app, self._state).run()
