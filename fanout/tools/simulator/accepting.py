"""Accepting connections, many in one pass of the loop.

Trio's own `serve_listeners` accepts one a pass: a burst of new connections waits for as many passes.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NoReturn

import trio

from fanout.tools.simulator.wire import Stream

ACCEPTS_PER_ITERATION: Final = 64
FULL_PAUSE_S: Final = 0.1  # descriptors come back as connections end
FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Serve = Callable[[Stream], Awaitable[None]]


async def accept_all(listener: trio.abc.Listener[Stream], serve: Serve, nursery: trio.Nursery) -> NoReturn:
    """Start `serve(stream)` in the nursery for every connection, until cancelled. Closes the listener."""
    async with listener:
        while True:
            try:
                nursery.start_soon(serve, await listener.accept())
            except OSError as error:
                if error.errno not in FULL:
                    raise
                await trio.sleep(FULL_PAUSE_S)
            else:
                if isinstance(listener, trio.SocketListener):
                    _accept_waiting(listener, serve, nursery)


def _accept_waiting(listener: trio.SocketListener, serve: Serve, nursery: trio.Nursery) -> None:
    """Accept what else waits, without waiting for it. Any error will meet the next real accept."""
    with suppress(OSError), socket.socket(fileno=listener.socket.dup().detach()) as handle:
        handle.setblocking(False)
        for _ in range(ACCEPTS_PER_ITERATION):
            accepted, _address = handle.accept()
            nursery.start_soon(serve, trio.SocketStream(trio.socket.from_stdlib_socket(accepted)))
