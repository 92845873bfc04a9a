"""The byte stream a connection runs on, and what it is over a plain socket.

Rule 1: closing is synchronous and never waits, fails or runs twice. A closed wire refers to nobody.
Rule 2: one task at a time uses a wire, and only that task closes it: nobody waits in a closed one.

A wire is injected where there is no network: in the simulated world, in virtual time.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import trio

from fanout.loop.sockets import LEFT, NEWS, sockets

# An urgent byte (MSG_OOB) is on its way or has come. It is skipped, as TCP has it, and a read stops in front
# of it: from then on, less than could have been read is not all there is.
URGENT: Final = select.EPOLLPRI

# getaddrinfo's family and socket address: enough to connect.
Address = tuple[socket.AddressFamily, tuple[Any, ...]]

# Linger for zero seconds: closing sends a RST, so the upstream learns of it and no TIME_WAIT is left here.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
# A link that goes silent reports nothing. The kernel's probes find an idle connection dead within 8 s.
_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # not every system has all of the names
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), n)
        for name, n in _KEEP_ALIVE.items()
        if hasattr(socket, name)
    ),
)
_CONNECTING: Final = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})


class Wire(Protocol):
    """A connected byte stream. Everything the world does to it is an `OSError`."""

    @property
    def has_ended(self) -> bool:
        """The peer's end (FIN or RST) was reported, perhaps behind unread bytes."""

    def on_news(self, tell: Callable[[], bool]) -> None:
        """Have `tell` called when something has come, or the end, and no task waits for it; until closed.

        It returns whether it woke a task.
        """

    async def send_all(self, data: bytes) -> None:
        """Send everything. Not a checkpoint when the bytes fit; after `Cancelled` some may be sent."""

    async def receive_some(self, max_bytes: int) -> bytes:
        """Wait for at least one byte; `b""` when the peer has closed. Nothing is lost by `Cancelled`."""

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """What has already arrived; `None` when nothing has and the peer has not closed."""

    def close(self) -> None:
        """Close in order: what was sent is still delivered."""

    def abort(self) -> None:
        """Close at once, so that the peer sees a reset and forgets the exchange."""


class SocketWire:
    """A `Wire` over a connected, non-blocking stream socket, which it owns. To be made in a run of Trio."""

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
        self._is_readable = False  # it was told of, and will not be again
        self._on_news: Callable[[], bool] = _wakes_nobody
        self._reader: trio.lowlevel.Task | None = None
        self._kernel = select.poll()
        self._kernel.register(connected, select.POLLIN)
        self._sockets = sockets()
        # An upstream that answers and closes in one packet has answered: it is not one of those who leave.
        self._sockets.watch(connected.fileno(), NEWS | URGENT, self._told, at_once=True)

    def on_news(self, tell: Callable[[], bool]) -> None:
        self._on_news = tell

    async def send_all(self, data: bytes) -> None:  # noqa: ASYNC910 - the answer is waited for next, always
        sent = self._send_nowait(data)
        while sent < len(data):
            await trio.lowlevel.wait_writable(self._socket)
            sent += self._send_nowait(memoryview(data)[sent:])

    async def receive_some(self, max_bytes: int) -> bytes:
        while True:
            if self._is_readable:
                await trio.lowlevel.checkpoint()  # an upstream that always has more lets others run
            else:  # it never answers at once: to wait first saves the receive that would fail
                self._reader = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._give_up)
            data = self._receive(max_bytes)
            if data is None:
                self._is_readable = False
                continue
            # Less than could have been received was all there is. The end is told once, and stays.
            self._is_readable = self.has_ended or self._has_urgent or len(data) == max_bytes
            return data

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _told(self, events: int) -> bool:
        """Bytes have come, or the end. Returns whether it woke a task. Called by the loop: must not raise."""
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
        except Exception:  # noqa: BLE001 - out of memory, say: it is found out when the connection is taken
            return False

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        # Mostly nothing has, and to be told so by an exception takes three times as long.
        return self._receive(max_bytes) if self._kernel.poll(0) else None

    def close(self) -> None:
        self._sockets.forget(self._socket.fileno())
        self._on_news = _wakes_nobody
        with suppress(OSError):  # the descriptor is free all the same
            self._socket.close()

    def abort(self) -> None:
        if self._socket.fileno() >= 0:
            _reset_on_close(self._socket)
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


async def dial(address: Address) -> Wire:  # noqa: ASYNC910 - the answer is waited for next, always
    """Connect to one address. However this ends, no socket is left but the returned one.

    Raises `OSError`.
    """
    family, where = address
    connecting = socket.SocketType(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        for option in _OPTIONS:
            connecting.setsockopt(*option)
        if not _is_connected(connecting, where) and not _is_connected(connecting, where):
            await trio.lowlevel.wait_writable(connecting)
            _raise_if(connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), where)
        return SocketWire(connecting)  # noqa: ASYNC910 - who dials waits for an answer next, always
    except BaseException:
        _reset_on_close(connecting)
        with suppress(OSError):
            connecting.close()
        raise


def _reset_on_close(sock: socket.SocketType) -> None:
    with suppress(OSError):  # some systems refuse it after a reset, which is as good
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _wakes_nobody() -> bool:
    return False


def _is_connected(connecting: socket.SocketType, where: tuple[Any, ...]) -> bool:
    """Begin to connect, or ask how it goes.

    An upstream on this host (a sidecar, say) has answered already when it is asked: that saves a pass of the
    loop.
    """
    error = connecting.connect_ex(where)
    if error in _CONNECTING:
        return False
    _raise_if(error, where)
    return True


def _raise_if(error: int, where: tuple[Any, ...]) -> None:
    if error:
        raise OSError(error, f"{os.strerror(error)} ({where[0]} port {where[1]})")
