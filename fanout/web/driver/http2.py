"""HTTP/2 on one connection: hypercorn's protocol (which is h2's), within our bounds.

Rule 1: nothing is shielded. Tasks hand bytes to the one task that writes, so to cancel any of them breaks
        nothing, and a caller that does not read is found by the connection's deadline.
Rule 2: bytes are counted before they are parsed (`frames`), and parsed few at a time, so that others run.
Rule 3: what a caller does wrong is `REFUSED` or `FLOODING`, and never a crash.

What hypercorn does, and is done otherwise here:
- it never finds a connection idle whose last request was reset, and keeps the buffer of each that was;
- it ends the connection, without the answers that are due, after a thousand requests;
- DATA behind an early answer, a path that is not ASCII, and CONNECT raise: they are dropped, or reset;
- priorities, which RFC 9113 has withdrawn, can loop and pile up: not listened to;
- it opens websockets: not offered;
- the caller decides how much is remembered of answers' fields: not more than is usual;
- while draining it can say goodbye before the last frame of an answer.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import h2.connection
import h2.events
import h2.exceptions
import trio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from fanout.web.asgi import ARRIVAL_KEY, App
from fanout.web.driver.connection import Connection, State
from fanout.web.driver.driver import Driver
from fanout.web.driver.frames import Allowance, Frames
from fanout.web.driver.http2_app import for_http2
from fanout.web.driver.statistics import End

_PIECE_BYTES: Final = 4096  # parsed at once: at most 455 frames
_UNWRITTEN: Final = 16  # blocks of bytes that wait to be written; whoever has one more waits, too
_TABLE_BYTES: Final = 4096  # of fields that are remembered, RFC 7541


class Http2(H2Protocol):
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
        transport = connection.transport
        super().__init__(
            ASGIWrapper(for_http2(app, driver, connection)),
            config,
            context,
            _Tasks(),
            ConnectionState(lifespan_state),
            transport.scheme == "https",
            transport.client,
            transport.server,
            self._send,
        )
        del self.connection.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]
        self.connection.decoder.max_header_list_size = config.h2_max_header_list_size
        limits = driver.limits
        self._driver = driver
        self._held = connection
        self._frames = Frames(limits)
        self._resets = Allowance(limits.max_resets, limits.resets_per_s)
        self._unended: set[int] = set()  # requests that are still to come to their end
        self._unwritten, self._to_write = trio.open_memory_channel[bytes](_UNWRITTEN)
        self._reading = trio.CancelScope()

    async def run(self) -> None:  # noqa: ASYNC910 - the task of a connection, and its last act
        """Serve until either side has had enough. How it ended is in the connection's record."""
        self._held.wait(State.HEAD, self._driver.limits.head_timeout_s)
        with self._unwritten, self._to_write:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                async with self.task_group:
                    await self.initiate()
                    with self._reading:
                        await self._read()
                        self._stop(End.CALLER_LEFT)
                    await self.handle(Closed())
                    await self._flush()
                self._unwritten.close()

    async def _read(self) -> None:  # noqa: ASYNC910 - hypercorn waits for the first bytes, and so does this
        """Until the caller leaves."""
        with suppress(trio.BrokenResourceError):
            while data := await self._held.transport.receive():
                for at in range(0, len(data), _PIECE_BYTES):
                    piece = data[at : at + _PIECE_BYTES]
                    error = self._frames.count(piece)
                    if error is not None:
                        self._stop(End.FLOODING, error)
                    await trio.lowlevel.checkpoint()  # others run; and here it ends, once stopped
                    await self.handle(RawData(piece))
                    self._note_whether_idle()

    async def _write(self) -> None:
        """Write what is handed over, until there will be no more, or as long as the caller takes it."""
        limits, transport = self._driver.limits, self._held.transport
        async for data in self._to_write:
            blocks = [data]
            with suppress(trio.WouldBlock, trio.EndOfChannel):
                while True:  # noqa: ASYNC913 - as many as there are
                    blocks.append(self._to_write.receive_nowait())
            self._held.written_within(limits.write_timeout_s)
            with suppress(trio.BrokenResourceError):  # the reader is told as well
                await transport.send_all(b"".join(blocks))
            self._held.written_within(float("inf"))

    async def _send(self, event: Event) -> None:  # noqa: ASYNC910 - to say so waits for nothing
        """Where hypercorn hands over bytes, and says that the caller has broken the protocol."""
        if isinstance(event, RawData):
            await self._unwritten.send(event.data)
        elif isinstance(event, Closed):
            self._driver.malformed += 1
            self._stop(End.REFUSED)

    def _stop(self, end: End, error: ErrorCodes | None = None) -> None:
        """Read no more, and end: every request that still runs is told that its caller has left.

        error: what to tell the caller, if it has not been told.
        """
        if self._reading.cancel_called:
            return
        self._held.end = end
        self._held.linger(self._driver.limits.linger_timeout_s)
        if error is not None:
            self.connection.close_connection(error)
        self._reading.cancel(reason=end)

    def _note_whether_idle(self) -> None:
        """A connection without a request waits for one, for so long; while draining it ends."""
        if self._reading.cancel_called:
            return
        if self.streams or self.stream_buffers:
            self._held.work()
        elif self._held.state is State.BUSY or (self._held.state is State.HEAD and self._frames.began):
            if self._driver.draining:
                self._stop(End.DRAINED, ErrorCodes.NO_ERROR)
            else:
                self._held.wait_idle()

    # What the caller did

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()  # hypercorn leaves those waiting that wait for a window

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.StreamReset) and event.stream_id in self.stream_buffers:
                await self.stream_buffers[event.stream_id].close()  # else it is kept for ever
            if self._is_for_hypercorn(event):
                await super()._handle_events([event])
            if self._resets.overdrawn:
                self._stop(End.FLOODING, ErrorCodes.ENHANCE_YOUR_CALM)
            if self._reading.cancel_called:
                return  # noqa: ASYNC910 - the reader has passed one
        await self._flush()

    def _is_for_hypercorn(self, event: h2.events.Event) -> bool:
        """Do what is ours to do about it; and whether hypercorn has something to do."""
        match event:
            case h2.events.RequestReceived():
                return self._admits(event)
            case h2.events.StreamReset():  # by the caller, or by h2 because of the caller
                self._resets.spend()
                self._unended.discard(event.stream_id)
            case h2.events.StreamEnded():
                self._unended.discard(event.stream_id)
            case h2.events.DataReceived() if event.stream_id not in self.streams:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                return False
            case h2.events.RemoteSettingsChanged():
                encoder = self.connection.encoder
                if encoder.header_table_size > _TABLE_BYTES:  # to set it to what it is would hide a change
                    encoder.header_table_size = _TABLE_BYTES
            case h2.events.ConnectionTerminated():
                self._stop(End.CALLER_LEFT)
                return False
            case h2.events.PriorityUpdated():
                return False
        return True

    def _admits(self, event: h2.events.RequestReceived) -> bool:
        """Whether a new request may go on to the app. If not, it is reset or answered."""
        stream_id = event.stream_id
        assert stream_id is not None
        stream = self.connection.streams.get(stream_id)
        if stream is None or stream.closed:
            return False  # it was reset within the same bytes
        if event.stream_ended is None:
            self._unended.add(stream_id)
        if not _is_well_formed(event):
            self._driver.malformed += 1
            self._resets.spend()
            self._reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return False
        if self._driver.draining:
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return False
        answer = self._driver.refuse(0)
        if answer is not None:
            self._driver.refused += 1
            with suppress(h2.exceptions.ProtocolError):  # the caller has said goodbye in the same bytes
                self._answer_now(stream_id, answer)
            return False
        self._driver.requests += 1
        return True

    def _answer_now(self, stream_id: int, answer: bytes) -> None:
        """Send a complete HTTP/1.1 answer as one of HTTP/2."""
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        pairs = [(b":status", status.split(b" ")[1])]
        pairs += [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        if self.connection.local_flow_control_window(stream_id) < len(body):
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)  # it may be sent again, too
            return
        self.connection.send_headers(stream_id, pairs)
        self.connection.send_data(stream_id, body, end_stream=True)
        self._end_request(stream_id)

    def _end_request(self, stream_id: int) -> None:
        """The answer is complete. If the request is not, the rest of it is not wanted (RFC 9113 8.1)."""
        if stream_id in self._unended:
            self._reset(stream_id, ErrorCodes.NO_ERROR)

    def _reset(self, stream_id: int, error: ErrorCodes) -> None:
        self._unended.discard(stream_id)
        with suppress(h2.exceptions.ProtocolError):  # it is closed already
            self.connection.reset_stream(stream_id, error)

    # What the app did

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, StreamClosed):
            await self._close_stream(event.stream_id)
            self._note_whether_idle()
        else:
            await super().stream_send(event)

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        if stream_id not in self.stream_buffers:
            self._end_request(stream_id)
            await self._flush()
            self._note_whether_idle()


class _Tasks(TaskGroup):
    """Hypercorn's, with the moment a head was read in the request's scope."""

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        scope[ARRIVAL_KEY] = trio.current_time()
        return await super().spawn_app(app, config, scope, send)


def _is_well_formed(request: h2.events.RequestReceived) -> bool:
    """What h2 does not see to, and hypercorn trips over. CONNECT is not served."""
    pseudo = {bytes(name): bytes(value) for name, value in request.headers if name.startswith(b":")}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    served = method.isascii() and method.upper() not in (b"", b"CONNECT")
    return served and path.isascii() and path[:1] in (b"/", b"*")
