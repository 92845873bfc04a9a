"""What the driver needs from a connection to a client, and its implementation over a TCP socket.

`tls` implements it over another transport. The test kit has transports over memory, in virtual time.

Rule 1: the end of a connection is `b""` from `receive` after a FIN, and `trio.BrokenResourceError` from any
        method after an RST or any other error of the network.
Rule 2: `close` and `abort` are synchronous, may be called twice, and raise nothing.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import outcome
import trio

from fanout.loop.sockets import LEFT, NEWS, sockets

MAX_RECEIVE_BYTES: Final = 64 * 1024
# An urgent byte (MSG_OOB) has come, or will. A read stops before it, and the next one skips it. So from then
# on a short read does not mean that there is no more.
URGENT: Final = select.EPOLLPRI
Address = tuple[str, int] | None
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST and drops what is unsent


class Transport(ABC):
    """A connection to a client. One task receives, and one task sends.

    scheme: `http` or `https`. client, server: the two addresses, as far as they are known.
    """

    __slots__ = ("client", "scheme", "server")

    def __init__(self, scheme: str, client: Address = None, server: Address = None) -> None:
        self.scheme = scheme
        self.client = client
        self.server = server

    async def handshake(self) -> str | None:  # noqa: ASYNC910 - the next step waits for a request
        """Agree on keys, over TLS. Returns the protocol that was agreed on with them (ALPN), if any."""
        return None  # noqa: ASYNC910 - as above

    @abstractmethod
    def send_now(self, data: bytes) -> bool:
        """Send without waiting. Returns whether the kernel has all of it; if not, `flush` sends the rest."""

    @abstractmethod
    async def flush(self) -> None:
        """Wait until the kernel has everything that was to be sent.

        If it is cancelled, an unknown part was sent, and only `close` and `abort` remain.
        """

    async def send_all(self, data: bytes) -> None:  # noqa: ASYNC910 - the next step waits for an answer
        """Send all of it. If it is cancelled, as `flush`."""
        if not self.send_now(data):
            await self.flush()

    @abstractmethod
    async def receive(self) -> bytes:
        """At least one byte, or `b""` at the end. Nothing is lost if it is cancelled."""

    async def receive_unless(self, is_dealt_with: Callable[[bytes], bool]) -> bytes:
        """As `receive`, but skip the bytes that `is_dealt_with` accepts.

        is_dealt_with: called with the bytes that come, never with `b""`. Its exceptions are raised here.
        """
        while True:
            data = await self.receive()
            if not data or not is_dealt_with(data):
                return data

    @abstractmethod
    def watch(self, client_left: Callable[[], None]) -> None:
        """Begin to watch for events. Called once, before the first `receive`.

        client_left: called once, when the client disconnects (FIN or RST), also behind unread bytes.
        """

    @abstractmethod
    def has_bytes(self) -> bool:
        """Whether `receive` would return at once. `False` if that is unknown."""

    @abstractmethod
    async def send_eof(self) -> None:
        """Send a FIN: no more bytes will follow."""

    @abstractmethod
    def close(self) -> None:
        """Close in order: what was sent is still delivered."""

    @abstractmethod
    def abort(self) -> None:
        """Close with RST: what is unsent is dropped, and the client sees it at once."""


class SocketTransport(Transport):
    """A client at the other end of a TCP socket, which must be non-blocking. The transport owns it."""

    __slots__ = (
        "_client_left",
        "_fd",
        "_has_left",
        "_has_urgent",
        "_is_dealt_with",
        "_is_readable",
        "_reader",
        "_sock",
        "_unsent",
    )

    def __init__(self, sock: socket.socket) -> None:
        super().__init__("http", _address(sock.getpeername), _address(sock.getsockname))
        self._sock = sock
        self._fd = sock.fileno()
        self._unsent = b""
        self._client_left: Callable[[], None] | None = None  # to be called
        self._has_left = False
        self._has_urgent = False
        self._is_readable = False  # epoll has reported it, and will not again
        self._reader: trio.lowlevel.Task | None = None  # waits in `receive_unless`
        self._is_dealt_with: Callable[[bytes], bool] = _nothing

    def send_now(self, data: bytes) -> bool:
        if self._unsent:
            self._unsent += data
            return False
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise trio.BrokenResourceError from error
        if sent == len(data):
            return True
        self._unsent = data[sent:]
        return False

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._unsent:
            try:
                await trio.lowlevel.wait_writable(self._fd)
            except OSError as error:  # epoll_ctl has no memory
                raise trio.BrokenResourceError from error
            unsent, self._unsent = self._unsent, b""
            self.send_now(unsent)

    async def receive(self) -> bytes:
        return await self.receive_unless(_nothing)

    async def receive_unless(self, is_dealt_with: Callable[[bytes], bool]) -> bytes:
        """As above. Bytes that are dealt with wake no task."""
        if self._is_readable:
            await trio.lowlevel.checkpoint()  # a client that always sends waits its turn
            data = self._next(is_dealt_with)
            if data is not None:
                return data
        self._reader, self._is_dealt_with = trio.lowlevel.current_task(), is_dealt_with

        def abort(_: object) -> trio.lowlevel.Abort:
            self._reader = None
            return trio.lowlevel.Abort.SUCCEEDED

        data = await trio.lowlevel.wait_task_rescheduled(abort)
        assert isinstance(data, bytes)
        return data

    def watch(self, client_left: Callable[[], None]) -> None:
        self._client_left = client_left
        try:
            sockets().watch(self._fd, NEWS | URGENT, self._on_events)
        except OSError as error:  # epoll_ctl has no memory, or the user has too many descriptors watched
            raise trio.BrokenResourceError from error

    def has_bytes(self) -> bool:
        if self._sock.fileno() < 0:
            return False
        kernel = select.poll()
        kernel.register(self._fd, select.POLLIN)
        return bool(kernel.poll(0))

    async def send_eof(self) -> None:  # noqa: ASYNC910 - the next step waits for the client
        with suppress(OSError):  # the client is gone
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        sockets().forget(self._fd)
        self._client_left, self._is_dealt_with = None, _nothing  # they refer to this: no cycle
        with suppress(OSError):  # the descriptor is free either way
            self._sock.close()

    def abort(self) -> None:
        with suppress(OSError):  # closed; or reset, after which some systems refuse it
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def _on_events(self, events: int) -> bool:
        """Bytes have come, or the client has disconnected, or both. Returns whether it woke a task.

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
            self._has_left = True
            client_left, self._client_left = self._client_left, None
            if client_left is not None:
                client_left()  # this may end the wait of the reader
        if self._reader is None:
            return self._has_left
        data = self._next(self._is_dealt_with)
        if data is None:
            return False
        result = outcome.Value(data)
        reader, self._reader = self._reader, None
        trio.lowlevel.reschedule(reader, result)
        del reader, result  # the traceback of an exception refers to this frame: no cycle
        return True

    def _next(self, is_dealt_with: Callable[[bytes], bool]) -> bytes | None:
        """The next bytes that are not dealt with; `None`: there are none, and epoll reports the next."""
        while self._is_readable:
            try:
                data = os.read(self._fd, MAX_RECEIVE_BYTES)
            except BlockingIOError:
                self._is_readable = False
                break
            except OSError as error:
                raise trio.BrokenResourceError from error
            # A short read means that there is no more. The end is reported once, and stays readable.
            self._is_readable = self._has_left or self._has_urgent or len(data) == MAX_RECEIVE_BYTES
            if not data or not is_dealt_with(data):
                return data
        return None


def _nothing(data: bytes) -> bool:
    return False


def _address(ask: Callable[[], object]) -> Address:
    """Host and port of an IP address; `None` for any other kind, and when the client is gone."""
    try:
        match ask():
            case (str(host), int(port), *_):
                return host, port
    except OSError:
        pass
    return None
