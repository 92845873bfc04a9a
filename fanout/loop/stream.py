"""Bytes over a connected, non-blocking socket that `sockets` watches, to a client or to an upstream.

Rule 1: closing is synchronous and never waits, fails or runs twice. A closed stream refers to no owner, and
        its descriptor, which the next socket may get, is not used again.
Rule 2: one task receives and one task sends. No task waits in a stream that is closed.
Rule 3: the end is `b""` after a FIN, and `BrokenStream` after an RST or any other error of the network.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

import outcome
import trio

from fanout.loop.sockets import LEFT, NEWS, Sockets, sockets

MAX_RECEIVE_BYTES: Final = 64 * 1024
# An urgent byte (MSG_OOB) has come, or will. A read stops before it, and the next one skips it. So from then
# on a short read does not mean that there is no more.
URGENT: Final = select.EPOLLPRI
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER with no time

IsDealtWith = Callable[[bytes], bool]


class BrokenStream(trio.BrokenResourceError, OSError):
    """The network or the peer has broken the connection. It has the number and the text of the `OSError`."""


class HasSocketOptions(Protocol):
    """A socket, or a stream over one."""

    def setsockopt(self, level: int, option: int, value: bytes, /) -> None: ...


def reset_on_close(sock: HasSocketOptions) -> None:
    """Closing sends an RST: what is unsent is dropped, the peer sees it at once, no TIME_WAIT remains."""
    with suppress(OSError):  # closed; or reset, after which some systems refuse it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class SocketStream:
    """It owns the socket.

    has_ended: whether epoll has reported the peer's end (FIN or RST), perhaps behind unread bytes.
    """

    has_part = False  # bytes have no records

    def __init__(self, sock: socket.SocketType) -> None:
        self.has_ended = False
        self._sock = sock
        self._fd = sock.fileno()
        self._unsent = b""
        self._sockets: Sockets | None = None
        self._on_end: Callable[[], None] | None = None
        self._on_news: Callable[[], bool] | None = None
        self._has_urgent = False
        self._is_readable = False  # epoll has reported it, and will not again
        self._reader: trio.lowlevel.Task | None = None  # waits in `receive_unless`
        self._is_dealt_with: IsDealtWith | None = None
        self._received = b""  # for the reader, which is about to run

    def watch(self, on_end: Callable[[], None] | None = None, *, at_once: bool = False) -> None:
        """Begin to watch for events. Called once, before the first `receive`.

        on_end: called once, when the peer disconnects (FIN or RST), also behind unread bytes. at_once: see
            `Sockets.watch`.
        """
        self._on_end = on_end
        self._sockets = sockets()
        try:
            self._sockets.watch(self._fd, NEWS | URGENT, self._on_events, at_once=at_once)
        except OSError as error:  # epoll_ctl has no memory, or the user has too many descriptors watched
            raise _broken(error) from error

    def on_news(self, tell: Callable[[], bool]) -> None:
        """Call `tell` when bytes or the end come while no task waits for them. It lasts until `close`.

        `tell` returns whether it woke a task.
        """
        self._on_news = tell

    def send_now(self, data: bytes) -> bool:
        """Send without waiting. Returns whether the kernel has all of it; if not, `flush` sends the rest."""
        if self._unsent:
            self._unsent += data
            return False
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _broken(error) from error
        if sent == len(data):
            return True
        self._unsent = data[sent:]
        return False

    async def flush(self) -> None:
        """Wait until the kernel has everything that was to be sent.

        If it is cancelled, an unknown part was sent, and only `close` and `abort` remain.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._unsent:
            try:
                await trio.lowlevel.wait_writable(self._fd)
            except OSError as error:  # epoll_ctl has no memory
                raise _broken(error) from error
            unsent, self._unsent = self._unsent, b""
            self.send_now(unsent)

    async def send_all(self, data: bytes) -> None:  # noqa: ASYNC910 - the next step waits for an answer
        """Send all of it. No checkpoint when the bytes fit; if it is cancelled, as `flush`."""
        if not self.send_now(data):
            await self.flush()

    async def receive_unless(self, is_dealt_with: IsDealtWith | None = None) -> bytes:
        """At least one byte, or `b""` at the end. Nothing is lost if it is cancelled.

        is_dealt_with: called with the bytes that come, never with `b""`. Bytes that it accepts are skipped,
            and wake no task. Its exceptions are raised here.
        """
        if self._is_readable:
            await trio.lowlevel.checkpoint()  # a peer that always sends waits its turn
            data = self._next(is_dealt_with)
            if data is not None:
                return data
        self._reader, self._is_dealt_with = trio.lowlevel.current_task(), is_dealt_with
        await trio.lowlevel.wait_task_rescheduled(self._give_up)
        data, self._received = self._received, b""
        return data

    receive = receive_unless

    def receive_nowait(self) -> bytes | None:
        """The bytes that have arrived, `b""` at the end, `None` if there is neither. It asks the kernel."""
        if not self.has_bytes():
            return None
        self._is_readable = True
        return self._next(None)

    def has_bytes(self) -> bool:
        """Whether `receive` would return at once. This asks the kernel."""
        return self._fd >= 0 and (self._sockets or sockets()).is_readable(self._fd)

    async def send_eof(self) -> None:  # noqa: ASYNC910 - the next step waits for the peer
        """Send a FIN: no more bytes will follow."""
        with suppress(OSError):  # the peer is gone
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close in order: what was sent is still delivered."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._sockets is not None:
            self._sockets.forget(fd)
        self._on_end = self._on_news = self._is_dealt_with = None  # no cycle
        with suppress(OSError):  # the descriptor is free either way
            self._sock.close()

    def abort(self) -> None:
        """Close with RST: what is unsent is dropped, and the peer sees it at once."""
        reset_on_close(self._sock)
        self.close()

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _on_events(self, events: int) -> bool:
        """Bytes have come, or the end, or both. Returns whether it woke a task.

        The event loop calls it. An exception goes to the reader, which would otherwise wait for ever.
        """
        try:
            return self._take_in(events)
        except Exception as error:
            reader, self._reader = self._reader, None
            if reader is None:
                raise
            trio.lowlevel.reschedule(reader, outcome.Error(error))
            return True

    def _take_in(self, events: int) -> bool:
        self._is_readable = True
        if events & URGENT:
            self._has_urgent = True
        if events & LEFT:
            self.has_ended = True
            on_end, self._on_end = self._on_end, None
            if on_end is not None:
                on_end()  # this may end the wait of the reader
        if self._reader is None:
            return self._tell_news()
        data = self._next(self._is_dealt_with)
        if data is None:
            return False
        self._received = data
        reader, self._reader = self._reader, None
        trio.lowlevel.reschedule(reader)
        return True

    def _tell_news(self) -> bool:
        if self._on_news is None:
            return self.has_ended
        try:
            return self._on_news()
        except Exception:  # noqa: BLE001 - such as out of memory: whoever takes the stream next notices, too
            return False

    def _next(self, is_dealt_with: IsDealtWith | None) -> bytes | None:
        """The next bytes that are not dealt with; `None`: there are none, and epoll reports the next."""
        while self._is_readable:
            try:
                data = os.read(self._fd, MAX_RECEIVE_BYTES)
            except BlockingIOError:
                self._is_readable = False
                break
            except OSError as error:
                raise _broken(error) from error
            # A short read means that there is no more. The end is reported once, and stays readable.
            self._is_readable = self.has_ended or self._has_urgent or len(data) == MAX_RECEIVE_BYTES
            if not data or is_dealt_with is None or not is_dealt_with(data):
                return data
            if self._is_readable:  # one such read per iteration: the rest waits for the reader's task
                is_dealt_with = None
        return None


def _broken(error: OSError) -> BrokenStream:
    return BrokenStream(error.errno, error.strerror)
