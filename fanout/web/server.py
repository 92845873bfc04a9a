"""Serving: hypercorn's Trio worker on listeners that are already open, and the order of a drain.

Order of a drain: readiness goes off, the public listener closes, admitted requests get their answers,
and only then the admin listener closes, so that an orchestrator can watch all of it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence

import trio
from hypercorn.config import Config, Sockets
from hypercorn.trio.run import worker_serve
from hypercorn.utils import wrap_app

from fanout.web.asgi import App

KEEP_ALIVE_S = 75  # above the idle timeout of the usual load balancers (60 s), so that they close first


async def serve_app(
    app: App,
    listeners: Sequence[socket.socket],
    *,
    shutdown: Callable[[], Awaitable[None]],
    grace_s: float,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` returns, then let what runs finish for at most `grace_s` seconds."""
    config = Config()
    config.graceful_timeout = grace_s
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.websocket_ping_interval = None
    wrapped = wrap_app(app, config.wsgi_max_body_size, "asgi")
    sockets = Sockets(secure_sockets=[], insecure_sockets=list(listeners), quic_sockets=[])
    await worker_serve(wrapped, config, sockets=sockets, shutdown_trigger=shutdown, task_status=task_status)
