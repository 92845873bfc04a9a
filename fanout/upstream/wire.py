"""The byte stream under a connection, and its implementation over a plain socket.

Rule 1: closing is synchronous and never waits, fails or runs twice. A closed wire refers to no owner.
Rule 2: one task at a time uses a wire, and only that task closes it, so no task waits in a closed wire.

The simulation injects wires of its own, in virtual time.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import trio

from fanout.loop.sockets import LEFT, NEWS, sockets

# An urgent byte (MSG_OOB) has come, or will. A read stops before it, and the next one skips it. So from then
# on a short read does not mean that there is no more.
URGENT: Final = select.EPOLLPRI

# getaddrinfo's family and socket address: enough to connect.
Address = tuple[socket.AddressFamily, tuple[Any, ...]]

READ_BYTES: Final = 16 * 1024  # one TLS record
# Linger for zero seconds: closing sends a RST, so the upstream notices, and no TIME_WAIT remains here.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Wire(Protocol):
    """A connected byte stream. Every failure of the network is an `OSError`."""

    @property
    def has_ended(self) -> bool:
        """Whether epoll has reported the upstream's end (FIN or RST), perhaps behind unread bytes."""

    def on_news(self, tell: Callable[[], bool]) -> None:
        """Call `tell` when bytes or the end come while no task waits for them. It lasts until `close`.

        `tell` returns whether it woke a task.
        """

    async def send_all(self, data: bytes) -> None:
        """Send all of it. No checkpoint when the bytes fit; after `Cancelled` a part may be sent."""

    async def receive_some(self, max_bytes: int) -> bytes:
        """Wait for at least one byte; `b""` when the upstream has closed. `Cancelled` loses nothing."""

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """The bytes that have arrived; `None` when none have and the upstream has not closed."""

    def close(self) -> None:
        """Close in order: what was sent is still delivered."""

    def abort(self) -> None:
        """Close at once with a reset, so that the upstream drops the exchange."""


class SocketWire:
    """A `Wire` over a connected, non-blocking stream socket, which it owns. Make it in a run of Trio."""

    __slots__ = (
        "_has_urgent",
        "_is_readable",
        "_kernel",
        "_on_news",
        "_reader",
        "_socket",
        "_sockets",
        "has_ended",
    )

    def __init__(self, connected: socket.SocketType) -> None:
        self.has_ended = False
        self._socket = connected
        self._has_urgent = False
        self._is_readable = False  # epoll has reported it, and will not again
        self._on_news: Callable[[], bool] = _wakes_nobody
        self._reader: trio.lowlevel.Task | None = None
        self._kernel = select.poll()
        self._kernel.register(connected, select.POLLIN)
        self._sockets = sockets()
        # An upstream may answer and close in one packet, so its end must not wait behind other disconnects.
        self._sockets.watch(connected.fileno(), NEWS | URGENT, self._told, at_once=True)

    def on_news(self, tell: Callable[[], bool]) -> None:
        self._on_news = tell

    async def send_all(self, data: bytes) -> None:  # noqa: ASYNC910 - the next step waits for the answer
        sent = self._send_nowait(data)
        while sent < len(data):
            await trio.lowlevel.wait_writable(self._socket)
            sent += self._send_nowait(memoryview(data)[sent:])

    async def receive_some(self, max_bytes: int) -> bytes:
        while True:
            if self._is_readable:
                await trio.lowlevel.checkpoint()  # other tasks run while an upstream always has more
            else:  # an upstream never answers at once: to wait first saves a receive that would fail
                self._reader = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._give_up)
            data = self._receive(max_bytes)
            if data is None:
                self._is_readable = False
                continue
            # A short read means that there is no more. The end is reported once, and stays readable.
            self._is_readable = self.has_ended or self._has_urgent or len(data) == max_bytes
            return data

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _told(self, events: int) -> bool:
        """Bytes or the end have come. Returns whether it woke a task. The loop calls it: never raise."""
        self._is_readable = True
        if events & LEFT:
            self.has_ended = True
        if events & URGENT:
            self._has_urgent = True
        reader, self._reader = self._reader, None
        if reader is not None:
            trio.lowlevel.reschedule(reader)
            return True
        try:
            return self._on_news()
        except Exception:  # noqa: BLE001 - such as out of memory: `OriginPool.take` notices the news, too
            return False

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        # Usually none have. Polling first avoids a BlockingIOError, which costs three times as much.
        return self._receive(max_bytes) if self._kernel.poll(0) else None

    def close(self) -> None:
        self._sockets.forget(self._socket.fileno())
        self._on_news = _wakes_nobody
        with suppress(OSError):  # the descriptor is free all the same
            self._socket.close()

    def abort(self) -> None:
        if self._socket.fileno() >= 0:
            reset_on_close(self._socket)
            self.close()

    def _receive(self, max_bytes: int) -> bytes | None:
        try:
            return self._socket.recv(max_bytes)
        except BlockingIOError:
            return None

    def _send_nowait(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0


def reset_on_close(sock: socket.SocketType) -> None:
    with suppress(OSError):  # some systems refuse it after a reset, which has the same effect
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _wakes_nobody() -> bool:
    return False
