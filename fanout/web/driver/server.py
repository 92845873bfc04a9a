"""The joint with hypercorn: its Trio worker, serving connections our way.

Hypercorn keeps its configuration, TLS contexts, listeners, lifespan and HTTP/2. Its worker finds the class
for a connection under a global name, so it runs here as the same code with one global of our own: hypercorn
itself is not patched, and two servers in one process have a driver each. `tests/web/driver/test_names.py`
holds every name of hypercorn's that is relied on.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import FunctionType
from typing import Any

import hypercorn.trio.run
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, LifespanState

from fanout.web.asgi import App
from fanout.web.driver.accept import accept_waiting
from fanout.web.driver.connection import Connection, State
from fanout.web.driver.driver import Driver
from fanout.web.driver.frames import MAX_FRAME_BYTES
from fanout.web.driver.http1 import Http1
from fanout.web.driver.http2 import Http2
from fanout.web.driver.statistics import End
from fanout.web.driver.transport import transport_over


async def serve(  # noqa: ASYNC128 - hypercorn's worker says when it has started
    app: App,
    driver: Driver,
    *,
    insecure: Sequence[socket.socket],
    secure: Sequence[socket.socket] = (),
    config: Config,
    shutdown: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on sockets that listen, until `shutdown` returns; then drain.

    config: of it count the TLS files, the error log, and `graceful_timeout`: what still runs that many
        seconds after `shutdown` is cancelled. The other timeouts and limits are the driver's.
    """
    config.h2_max_inbound_frame_size = MAX_FRAME_BYTES
    config.h2_max_concurrent_streams = driver.limits.max_streams
    config.h2_max_header_list_size = driver.limits.max_head_bytes
    config.max_app_queue_size = (
        sys.maxsize
    )  # pieces of a body; a full queue would hold up the whole connection
    config.keep_alive_max_requests = sys.maxsize  # beyond it answers that are due would be lost
    sockets = Sockets(list(secure), list(insecure), [])

    async def shutdown_and_drain() -> None:
        await shutdown()
        driver.drain()

    worker_serve = _worker_serve_with(partial(ConnectionServer, driver, app, sockets))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await worker_serve(
            ASGIWrapper(app),  # for the lifespan
            config,
            sockets=sockets,
            shutdown_trigger=shutdown_and_drain,
            task_status=task_status,
        )
        nursery.cancel_scope.cancel(reason="the last connection has ended")


def _worker_serve_with(tcp_server: Callable[..., TCPServer]) -> Callable[..., Awaitable[None]]:
    original = hypercorn.trio.run.worker_serve
    scope = {**vars(hypercorn.trio.run), "TCPServer": tcp_server}
    ours = FunctionType(original.__code__, scope, original.__name__)
    ours.__kwdefaults__ = original.__kwdefaults__
    return ours


class ConnectionServer(TCPServer):
    """One accepted connection: HTTP/1 by the driver, HTTP/2 by `Http2` on hypercorn, held by the driver."""

    def __init__(
        self,
        driver: Driver,
        asgi: App,
        sockets: Sockets | None,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: LifespanState,
        stream: Any,
    ) -> None:
        super().__init__(app, config, context, state, stream)
        self._driver = driver
        self._asgi = asgi
        self._sockets = sockets  # to accept more from; `None`: this one was accepted so

    async def run(self) -> None:
        if self._sockets is not None and not self._driver.draining:
            self._accept_more(self._sockets)
        await self._driver.hold(transport_over(self.stream), self._serve)

    async def _serve(self, connection: Connection) -> None:
        if isinstance(self.stream, trio.SSLStream):
            connection.wait(State.HANDSHAKE, self._driver.limits.handshake_timeout_s)
            try:
                await self.stream.do_handshake()
            except trio.BrokenResourceError:
                connection.end = End.BROKEN_HANDSHAKE
                return  # noqa: ASYNC910 - the handshake waited
            connection.work()
            if self.stream.selected_alpn_protocol() == "h2":
                http2 = Http2(self._driver, connection, self._asgi, self.config, self.context, self.state)
                await http2.run()
                return
        await Http1(self._driver, connection, self._asgi, self.state).run()

    def _accept_more(self, sockets: Sockets) -> None:
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None
        more = partial(
            ConnectionServer, self._driver, self._asgi, None, self.app, self.config, self.context, self.state
        )
        listeners = sockets.insecure_sockets
        for stream in accept_waiting(listeners):
            nursery.start_soon(more(stream).run)
        if isinstance(self.stream, trio.SSLStream):
            for stream in accept_waiting(sockets.secure_sockets):
                secured = trio.SSLStream(stream, self.stream.context, server_side=True, https_compatible=True)
                nursery.start_soon(more(secured).run)
