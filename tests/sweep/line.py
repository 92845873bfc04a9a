"""A client's connection without a socket, which does what a socket does: bytes up to a bound, FIN, RST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import trio

from fanout.loop.stream import MAX_RECEIVE_BYTES
from fanout.server.transport import Transport

End = Literal["fin", "rst"]
KERNEL_BYTES: Final = 16 * 1024  # what is taken from a sender before its receiver has read any of it


class Line:
    """One direction. Bytes that were sent before the end come before it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.end: End | None = None
        self.abandoned = False  # nobody will read: what is sent vanishes
        self.tell: Callable[[], None] | None = None  # called when it ends
        self._changed = trio.lowlevel.ParkingLot()

    def put(self, data: bytes | memoryview) -> int:
        """Take what there is room for, and return how much that was."""
        if self.abandoned:
            return len(data)
        taken = min(len(data), KERNEL_BYTES - len(self.data))
        self.data += data[:taken]
        self._changed.unpark_all()
        return taken

    def abandon(self) -> None:
        self.abandoned = True
        self.data.clear()
        self._changed.unpark_all()

    def finish(self, end: End) -> None:
        if self.end != "rst":
            self.end = end
        self._changed.unpark_all()
        tell, self.tell = self.tell, None
        if tell is not None:
            tell()

    def take(self, max_bytes: int) -> bytes:
        """`b""` at the end. Raises `trio.BrokenResourceError` after a reset."""
        if not self.data and self.end == "rst":
            raise trio.BrokenResourceError
        data = bytes(self.data[:max_bytes])
        del self.data[:max_bytes]
        self._changed.unpark_all()
        return data

    async def readable(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.data and self.end is None:
            await self._changed.park()

    async def writable(self) -> None:
        while len(self.data) >= KERNEL_BYTES and not self.abandoned:
            await self._changed.park()


class LineTransport(Transport):
    """The server's end, with the checkpoints of `SocketTransport`."""

    def __init__(self, incoming: Line, outgoing: Line, on_write: Callable[[], None]) -> None:
        super().__init__("http")
        self._unsent: bytes = b""
        self._incoming = incoming
        self._outgoing = outgoing
        self._on_write = on_write
        self.closed = False

    def send_now(self, data: bytes) -> bool:
        assert not self.closed
        self._on_write()
        if self._incoming.end == "rst":
            raise trio.BrokenResourceError
        if self._outgoing.abandoned:
            self._incoming.finish("rst")
        self._unsent = data[self._outgoing.put(data) :]
        return not self._unsent

    async def flush(self) -> None:
        while self._unsent:
            await self._outgoing.writable()
            await trio.lowlevel.checkpoint()
            self.send_now(self._unsent)

    async def receive(self) -> bytes:
        await self._incoming.readable()
        await trio.lowlevel.checkpoint()
        assert not self.closed
        return self._incoming.take(MAX_RECEIVE_BYTES)

    def watch(self, client_left: Callable[[], None]) -> None:
        if self._incoming.end is None:
            self._incoming.tell = client_left
        else:
            client_left()

    def has_bytes(self) -> bool:
        return bool(self._incoming.data or self._incoming.end)

    async def send_eof(self) -> None:
        self._outgoing.finish("fin")

    def close(self) -> None:
        self._finish("rst" if self._incoming.data else "fin")  # as TCP has it, when bytes were not read

    def abort(self) -> None:
        self._finish("rst")

    def _finish(self, end: End) -> None:
        if not self.closed:
            self.closed = True
            self._incoming.tell = None
            self._incoming.abandon()
            self._outgoing.finish(end)
