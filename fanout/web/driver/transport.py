"""Everything the driver knows of sockets. The rest of it works on these few methods.

`StreamTransport` works over any `trio.abc.Stream`: TLS, and memory streams in virtual time.
`SocketTransport` is the same over a TCP socket with the fewest system calls.

Rule 1: a caller that is gone is `b""` from `receive` when it said so (FIN) and `trio.BrokenResourceError`
        when it did not (RST, or anything else that broke).
Rule 2: `close` and `abort` are synchronous and may be called twice.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Final

import outcome
import trio

from fanout.loop.sockets import END, LEFT, NEWS, sockets

MAX_RECEIVE_BYTES: Final = 64 * 1024
Address = tuple[str, int] | None
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST and drops what is unsent


class StreamTransport:
    """A caller at the other end of any stream.

    `sock` is the TCP socket at the bottom, if there is one. Without one the addresses are unknown, `abort` is
    `close`, and a caller that leaves while its request runs is not noticed before the answer is written.
    """

    __slots__ = ("_sock", "client", "scheme", "server", "stream")

    def __init__(self, stream: trio.abc.Stream, sock: trio.socket.SocketType | None, scheme: str) -> None:
        self.stream = stream
        self.scheme = scheme
        self.client: Address = None
        self.server: Address = None
        self._sock = sock
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            self.client, self.server = _peer(sock), sock.getsockname()[:2]

    def send_now(self, data: bytes) -> int:
        """Send what can be sent without waiting, and return how many bytes that was."""
        return 0

    async def send_all(self, data: bytes | memoryview) -> None:
        """Send all of it. If cancelled, an unknown part was sent, and only `close` and `abort` remain."""
        await self.stream.send_all(data)

    async def receive(self, max_bytes: int = MAX_RECEIVE_BYTES) -> bytes:
        """At least one byte, or `b""` at the end. Nothing is lost if it is cancelled."""
        return bytes(await self.stream.receive_some(max_bytes))

    async def receive_unless(self, is_dealt_with: Callable[[bytes], bool]) -> bytes:
        """What `receive` returns, of which the caller of this has not already dealt with.

        is_dealt_with: called with what comes, never with `b""`. What it raises is raised here.
        """
        while True:
            data = await self.receive()
            if not data or not is_dealt_with(data):
                return data

    def watch(self, caller_left: Callable[[], None]) -> None:
        """Have `caller_left` called, once, when the caller has left (FIN or RST), also behind bytes that
        nobody has read.

        Without a socket nobody tells: the next read finds out, or the write of the answer.
        """
        if self._sock is not None:

            def told(_: int) -> bool:
                caller_left()
                return True

            sockets().watch(self._sock.fileno(), END, told)

    def unwatch(self) -> None:
        if self._sock is not None:
            sockets().forget(self._sock.fileno())

    def has_bytes(self) -> bool:
        """Whether `receive` would return at once. `False` if that cannot be known."""
        if self._sock is None or self._sock.fileno() < 0:
            return False
        watch = select.poll()
        watch.register(self._sock.fileno(), select.POLLIN)
        return bool(watch.poll(0))

    async def send_eof(self) -> None:  # noqa: ASYNC910 - its end is waited for next
        """Say that no more will be sent, where the stream can say that."""
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                return  # noqa: ASYNC910 - it is gone already
        elif isinstance(self.stream, trio.abc.HalfCloseableStream):
            await self.stream.send_eof()

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
        elif isinstance(self.stream, trio.StapledStream):
            self.stream.send_stream.close()
            self.stream.receive_stream.close()

    def abort(self) -> None:
        """Close with RST: what is unsent is dropped and the caller is told at once."""
        if self._sock is not None and self._sock.fileno() >= 0:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()


class SocketTransport(StreamTransport):
    """A caller at the other end of a TCP socket."""

    __slots__ = ("_caller_left", "_fd", "_has_left", "_is_dealt_with", "_is_readable", "_reader")

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream, stream.socket, "http")
        self._fd = stream.socket.fileno()
        self._caller_left: Callable[[], None] | None = None  # to be called
        self._has_left = False
        self._is_readable = False  # it was told of, and will not again
        self._reader: trio.lowlevel.Task | None = None  # waits in `receive_unless`
        self._is_dealt_with: Callable[[bytes], bool] = _nothing

    def send_now(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise trio.BrokenResourceError from error

    async def receive(self, max_bytes: int = MAX_RECEIVE_BYTES) -> bytes:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            data = self._read(max_bytes)
            if data is not None:  # else woken for nothing: the kernel dropped a segment with a bad checksum
                return data

    async def receive_unless(self, is_dealt_with: Callable[[bytes], bool]) -> bytes:
        """As it says above, and what is dealt with wakes no task. To be called while it is watched."""
        if self._is_readable:
            await trio.lowlevel.checkpoint()  # a caller that is always there waits like the others
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

    def watch(self, caller_left: Callable[[], None]) -> None:
        self._caller_left = caller_left
        sockets().watch(self._fd, NEWS, self._told)

    def unwatch(self) -> None:
        sockets().forget(self._fd)
        self._caller_left, self._is_dealt_with = None, _nothing  # they know of us, and cycles are garbage

    def _told(self, events: int) -> bool:
        """Bytes have come, or the caller has left, or both. Whether a task was woken."""
        self._is_readable = True
        if events & LEFT:
            self._has_left = True
            caller_left, self._caller_left = self._caller_left, None
            if caller_left is not None:
                caller_left()  # which may end the wait of the reader
        if self._reader is None:
            return self._has_left
        try:
            data = self._next(self._is_dealt_with)
        except Exception as error:  # noqa: BLE001 - the reader's task raises it; here it would end the loop
            result: outcome.Outcome[bytes] = outcome.Error(error)
        else:
            if data is None:
                return False
            result = outcome.Value(data)
        reader, self._reader = self._reader, None
        trio.lowlevel.reschedule(reader, result)
        return True

    def _next(self, is_dealt_with: Callable[[bytes], bool]) -> bytes | None:
        """What is there and not dealt with; `None`: nothing, and it is told when there is."""
        while self._is_readable:
            try:  # `_read` written out, as every request that is refused passes here
                data = os.read(self._fd, MAX_RECEIVE_BYTES)
            except BlockingIOError:
                self._is_readable = False
                break
            except OSError as error:
                raise trio.BrokenResourceError from error
            # Less than could have been read was all there is. The end is told once, and stays.
            self._is_readable = self._has_left or len(data) == MAX_RECEIVE_BYTES
            if not data or not is_dealt_with(data):
                return data
        return None

    def _read(self, max_bytes: int) -> bytes | None:
        try:
            return os.read(self._fd, max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise trio.BrokenResourceError from error


def _nothing(data: bytes) -> bool:
    return False


def transport_over(stream: trio.abc.Stream) -> StreamTransport:
    """The transport for a stream: by its type the fastest that fits."""
    if isinstance(stream, trio.SocketStream):
        return SocketTransport(stream)
    if isinstance(stream, trio.SSLStream):
        below = stream.transport_stream
        sock = below.socket if isinstance(below, trio.SocketStream) else None
        return StreamTransport(stream, sock, "https")
    return StreamTransport(stream, None, "http")


def _peer(sock: trio.socket.SocketType) -> Address:
    try:
        host, port = sock.getpeername()[:2]
    except OSError:  # gone between accept and now
        return None
    return host, port
