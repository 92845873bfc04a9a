"""One network, three views of it: the driver's transport, the pool's wire, the simulator's stream."""

from __future__ import annotations

from collections.abc import Callable

import trio

from fanout.loop.stream import MAX_RECEIVE_BYTES
from fanout.server.transport import Transport
from fanout.testing.world.network import End

Taken = Callable[[bytes], None]
Written = Callable[[bytes, bool], None]


class EndStream(trio.abc.HalfCloseableStream):
    """A Trio stream. It can also be closed by FIN (`close`) and by RST (`reset`) without waiting."""

    def __init__(self, end: End) -> None:
        self.end = end

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        await trio.lowlevel.checkpoint()
        try:
            while view:
                view = view[self.end.write(view) :]
                if view:
                    await self.end.writable()
        except OSError as error:
            raise _broken(self.end, error) from error

    async def wait_send_all_might_not_block(self) -> None:
        await self.end.writable()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self.end.readable()
        try:
            data = self.end.read(MAX_RECEIVE_BYTES if max_bytes is None else max_bytes)
        except OSError as error:
            raise _broken(self.end, error) from error
        assert data is not None
        return data

    async def send_eof(self) -> None:
        self.end.send_end()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.end.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self.end.close()

    def reset(self) -> None:
        self.end.reset()


def _broken(end: End, error: OSError) -> Exception:
    return trio.ClosedResourceError() if end.closed_at is not None else trio.BrokenResourceError()


class ClientTransport(Transport):
    """The driver's replacement for a `SocketTransport`: the same guarantees, method by method.

    on_read: gets the bytes that the server took. on_written: gets of each write what there was room for, and
    whether the rest waits. agreed: the protocol that a handshake would have agreed on.
    """

    def __init__(
        self, end: End, client: int, on_read: Taken, on_written: Written, *, agreed: str | None = None
    ) -> None:
        super().__init__("http" if agreed is None else "https", ("192.0.2.1", client), ("192.0.2.2", 80))
        self._end = end
        self._unsent = b""
        self._on_read = on_read
        self._on_written = on_written
        self._agreed = agreed

    async def handshake(self) -> str | None:
        await trio.lowlevel.checkpoint()
        return self._agreed

    def send_now(self, data: bytes) -> bool:
        if self._unsent:
            self._unsent += data
            return False
        try:
            sent = self._end.write(data)
        except OSError as error:
            raise trio.BrokenResourceError from error
        self._unsent = data[sent:]
        if data:
            self._on_written(data[:sent], bool(self._unsent))
        return not self._unsent

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._unsent:
            unsent, self._unsent = self._unsent, b""
            if not self.send_now(unsent):
                await self._end.writable()

    async def receive(self) -> bytes:
        await self._end.readable()
        try:
            data = self._end.read(MAX_RECEIVE_BYTES)
        except OSError as error:
            raise trio.BrokenResourceError from error
        assert data is not None
        self._on_read(data)
        return data

    def watch(self, client_left: Callable[[], None]) -> None:
        self._end.on_hang_up(client_left)

    def has_bytes(self) -> bool:
        return self._end.has_something

    async def send_eof(self) -> None:  # noqa: ASYNC910 - as the driver's own
        self._end.send_end()

    def close(self) -> None:
        self._end.on_hang_up(None)
        self._end.close()

    def abort(self) -> None:
        self._end.on_hang_up(None)
        self._end.reset()


class EndWire:
    """The pool's replacement for a `SocketStream`. `on_send`: called with what is written, before that.

    Only the end is news here. The pool notices unrequested bytes when it takes the connection.
    """

    __slots__ = ("_on_send", "_tell", "end", "has_ended")

    has_part = False

    def __init__(self, end: End, on_send: Callable[[bytes], None]) -> None:
        self.end = end
        self.has_ended = False
        self._on_send = on_send
        self._tell: Callable[[], bool] | None = None
        end.on_hang_up(self._hang_up)

    def on_news(self, tell: Callable[[], bool]) -> None:
        self._tell = tell

    def _hang_up(self) -> None:
        self.has_ended = True
        if self._tell is not None:
            self._tell()

    async def send_all(self, data: bytes) -> None:  # noqa: ASYNC910 - as SocketStream
        self._on_send(data)
        view = memoryview(data)[self.end.write(data) :]
        while view:
            await self.end.writable()
            view = view[self.end.write(view) :]

    def send_now(self, data: bytes) -> bool:
        return self.end.write(data) == len(data)

    async def receive(self) -> bytes:
        while True:
            await self.end.readable()
            data = self.end.read(MAX_RECEIVE_BYTES)
            if data is not None:
                return data

    def receive_nowait(self) -> bytes | None:
        return self.end.read(MAX_RECEIVE_BYTES)

    def close(self) -> None:
        self.end.on_hang_up(None)
        self.end.close()

    def abort(self) -> None:
        self.end.on_hang_up(None)
        self.end.reset()
