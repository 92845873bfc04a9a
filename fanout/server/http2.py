"""HTTP/2 on one connection: hypercorn's protocol, on top of h2, within the driver's bounds.

Rule 1: nothing is shielded. All tasks pass their bytes to the one task that writes, so cancelling any of them
        breaks nothing. The connection's deadline ends a client that does not read.
Rule 2: bytes are counted before they are parsed (`frames`). They are parsed in small pieces, so that other
        tasks run in between. A piece of many frames waits for its turn: an event-loop iteration has two.
Rule 3: a client's mistake is `REFUSED` or `FLOODING`, and never a crash.

Differences to hypercorn (more in `http2_streams`):
- hypercorn ends a connection after a thousand requests and loses their answers; here there is no such limit;
- while draining, hypercorn can send GOAWAY before the last frame of an answer; here the answers end first;
- the objects of hypercorn and h2 refer to themselves; here their references are cleared at the end, so they
  need no garbage collector.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, Final

import trio
from h2.errors import ErrorCodes
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.trio.worker_context import WorkerContext

from fanout.server.asgi import App
from fanout.server.connection import Connection, State
from fanout.server.driver import Driver
from fanout.server.frames import MAX_FRAME_BYTES, Frames
from fanout.server.http2_streams import Streams
from fanout.server.limits import Limits
from fanout.server.statistics import End

_PIECE_BYTES: Final = 1024  # parsed at once: at most 113 frames, or 80 requests
_FEW_FRAMES: Final = 8  # a piece with more frames waits for its turn
_UNWRITTEN: Final = 16  # blocks of bytes that wait to be written; a task with one more block waits, too


def configure(config: Config, limits: Limits) -> None:
    """Set the bounds of HTTP/2 in `config`, which is for `Http2`."""
    config.h2_max_inbound_frame_size = MAX_FRAME_BYTES
    config.h2_max_concurrent_streams = limits.max_streams
    config.h2_max_header_list_size = limits.max_head_bytes
    config.max_app_queue_size = sys.maxsize  # pieces of a body; a full queue would block the connection
    config.keep_alive_max_requests = sys.maxsize  # beyond it hypercorn would lose answers


class Http2(Streams):
    """The protocol of one connection. `run` it once."""

    def __init__(
        self,
        driver: Driver,
        connection: Connection,
        app: App,
        config: Config,
        context: WorkerContext,
        lifespan_state: dict[str, Any],
    ) -> None:
        super().__init__(driver, connection, app, config, context, lifespan_state)
        self._held = connection
        self._frames = Frames(driver.limits)
        self._unwritten, self._to_write = trio.open_memory_channel[bytes](_UNWRITTEN)
        self._reading = trio.CancelScope()

    async def run(self) -> None:
        """Serve until either side ends it. The connection records how it ended."""
        try:
            await self._serve()
        finally:  # no task runs any more; to clear a dictionary cannot raise, whatever is in it
            vars(self.connection).clear()
            vars(self).clear()

    async def _serve(self) -> None:  # noqa: ASYNC910 - the task of a connection, and its last act
        self._held.wait(State.HEAD, self._driver.limits.head_timeout_s)
        with self._unwritten, self._to_write:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                async with self.task_group:
                    await self.initiate()
                    with self._reading:
                        await self._read()
                        self.stop(End.CALLER_LEFT)
                    await self.handle(Closed())
                    await self._flush()
                self._unwritten.close()

    async def _read(self) -> None:  # noqa: ASYNC910 - receiving is a checkpoint
        """Read until the client disconnects."""
        with suppress(trio.BrokenResourceError):
            while data := await self._held.transport.receive():
                for at in range(0, len(data), _PIECE_BYTES):
                    piece = data[at : at + _PIECE_BYTES]
                    before = self._frames.number
                    error = self._frames.count(piece)
                    if error is not None:
                        self.stop(End.FLOODING, error)
                    if self._frames.number - before > _FEW_FRAMES:
                        await self._driver.pieces.next()
                    else:
                        await trio.lowlevel.checkpoint()  # other tasks run; a stopped reader ends here
                    await self.handle(RawData(piece))
                    self.note_whether_idle()

    async def _write(self) -> None:
        """Write the queued blocks until the queue is closed, or until the client takes no more."""
        limits, transport = self._driver.limits, self._held.transport
        async for data in self._to_write:
            blocks = [data]
            with suppress(trio.WouldBlock, trio.EndOfChannel):
                while True:  # noqa: ASYNC913 - until the queue is empty
                    blocks.append(self._to_write.receive_nowait())
            self._held.written_within(limits.write_timeout_s)
            with suppress(trio.BrokenResourceError):  # the reader notices as well
                await transport.send_all(b"".join(blocks))
            self._held.written_within(float("inf"))

    async def send_event(self, event: Event) -> None:  # noqa: ASYNC910 - `stop` waits for nothing
        if isinstance(event, RawData):
            await self._unwritten.send(event.data)
        elif isinstance(event, Closed):
            self._driver.malformed += 1
            self.stop(End.REFUSED)

    def stop(self, end: End, error: ErrorCodes | None = None) -> None:
        if self.is_stopped:
            return
        self.is_stopped = True
        self._held.end = end
        self._held.linger(self._driver.limits.linger_timeout_s)
        if error is not None:
            self.connection.close_connection(error)
        self._reading.cancel(reason=end)

    def note_whether_idle(self) -> None:
        """A connection without a request is idle; while draining it ends."""
        if self.is_stopped:
            return
        if self.streams or self.stream_buffers:
            self._held.work()
        elif self._held.state is State.BUSY or (self._held.state is State.HEAD and self._frames.number):
            if self._driver.draining:
                self.stop(End.DRAINED, ErrorCodes.NO_ERROR)
            else:
                self._held.wait_idle()
