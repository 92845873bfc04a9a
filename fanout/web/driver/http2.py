"""HTTP/2 on one connection: hypercorn's protocol (which is h2's), within our bounds.

Rule 1: nothing is shielded. Tasks hand bytes to the one task that writes, so to cancel any of them breaks
        nothing, and a caller that does not read is found by the connection's deadline.
Rule 2: bytes are counted before they are parsed (`frames`), and parsed few at a time, so that others run.
Rule 3: what a caller does wrong is `REFUSED` or `FLOODING`, and never a crash.

What hypercorn does, and is done otherwise here:
- it never finds a connection idle whose last request was reset, and keeps the buffer of each that was;
- it ends the connection, without the answers that are due, after a thousand requests;
- DATA behind an early answer raises: it is dropped;
- a head that breaks the rules ends the connection, or raises, or is served: `http2_head` has them instead;
- an answer that its app does not complete is left open: its stream is reset;
- priorities, which RFC 9113 has withdrawn, can loop and pile up: streams take turns (`turns`);
- it opens websockets: not offered;
- the caller decides how much is remembered of answers' fields: not more than is usual;
- while draining it can say goodbye before the last frame of an answer;
- it and h2 refer to themselves: at the end they are taken apart, and need no garbage collector.
"""

from __future__ import annotations

import sys
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
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from fanout.web.asgi import App
from fanout.web.driver.answer import problem_bytes
from fanout.web.driver.connection import Connection, State
from fanout.web.driver.driver import Driver
from fanout.web.driver.frames import MAX_FRAME_BYTES, Allowance, Frames
from fanout.web.driver.head import CHUNKED
from fanout.web.driver.http2_app import Tasks, for_http2
from fanout.web.driver.http2_head import Malformed, check_head, check_trailers
from fanout.web.driver.limits import Limits
from fanout.web.driver.refusals import Refused
from fanout.web.driver.statistics import End
from fanout.web.driver.turns import Turns

_PIECE_BYTES: Final = 4096  # parsed at once: at most 455 frames
_UNWRITTEN: Final = 16  # blocks of bytes that wait to be written; whoever has one more waits, too
_TABLE_BYTES: Final = 4096  # of fields that are remembered, RFC 7541


def configure(config: Config, limits: Limits) -> None:
    """Give hypercorn the bounds of HTTP/2. `config` is for `Http2`."""
    config.h2_max_inbound_frame_size = MAX_FRAME_BYTES
    config.h2_max_concurrent_streams = limits.max_streams
    config.h2_max_header_list_size = limits.max_head_bytes
    config.max_app_queue_size = (
        sys.maxsize
    )  # pieces of a body; a full queue would hold up the whole connection
    config.keep_alive_max_requests = sys.maxsize  # beyond it answers that are due would be lost


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
            ASGIWrapper(app),
            config,
            context,
            Tasks(for_http2(app, driver, connection)),
            ConnectionState(lifespan_state),
            transport.scheme == "https",
            transport.client,
            transport.server,
            self._send,
        )
        self.priority = Turns()  # type: ignore[assignment]
        del self.connection.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]
        self.connection.config.validate_inbound_headers = False  # `http2_head` does
        limits = driver.limits
        self.connection.decoder.max_header_list_size = limits.max_head_block_bytes
        self._driver = driver
        self._held = connection
        self._frames = Frames(limits)
        self._resets = Allowance(limits.max_resets, limits.resets_per_s)
        self._unended: set[int] = set()  # requests that are still to come to their end
        self._unwritten, self._to_write = trio.open_memory_channel[bytes](_UNWRITTEN)
        self._reading = trio.CancelScope()

    async def run(self) -> None:
        """Serve until either side has had enough. How it ended is in the connection's record."""
        try:
            await self._serve()
        finally:  # nothing runs any more, and this cannot raise, whatever hypercorn or h2 may add
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
            if isinstance(event, h2.events.TrailersReceived):
                await self._check_trailers(event)
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
        driver = self._driver
        try:
            length = check_head(event.headers, driver.limits, ended=event.stream_ended is not None)
        except Malformed:
            self._reset_malformed(stream_id)
            return False
        except Refused as refused:
            driver.malformed += 1
            self._answer_now(event, problem_bytes(refused.problem, driver.date.line(trio.current_time())))
            return False
        if length == CHUNKED:
            event.headers.append(
                (b"transfer-encoding", b"chunked")
            )  # what a gateway says of it, and an app knows
        if self._driver.draining:
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return False
        answer = driver.refuse(0)
        if answer is not None:
            driver.refused += 1
            if self._window(stream_id) < len(answer):
                self._reset(stream_id, ErrorCodes.REFUSED_STREAM)  # it may be sent again, too
            else:
                self._answer_now(event, answer)
            return False
        driver.requests += 1
        return True

    def _answer_now(self, request: h2.events.RequestReceived, answer: bytes) -> None:
        """Send a complete HTTP/1.1 answer as one of HTTP/2; its body only if the caller takes it at once."""
        stream_id = request.stream_id
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        pairs = [(b":status", status.split(b" ")[1])]
        pairs += [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        if (b":method", b"HEAD") in request.headers or self._window(stream_id) < len(body):
            body = b""
        with suppress(h2.exceptions.ProtocolError):  # the caller has said goodbye in the same bytes
            self.connection.send_headers(stream_id, pairs, end_stream=not body)
            if body:
                self.connection.send_data(stream_id, body, end_stream=True)
            self._end_request(stream_id)

    def _window(self, stream_id: int) -> int:
        with suppress(h2.exceptions.ProtocolError):  # the stream is closed
            return self.connection.local_flow_control_window(stream_id)
        return 0

    async def _check_trailers(self, event: h2.events.TrailersReceived) -> None:  # noqa: ASYNC910 - its app is at its end
        try:
            check_trailers(event.headers)
        except Malformed:
            self._reset_malformed(event.stream_id)
            await self._drop(event.stream_id)

    def _reset_malformed(self, stream_id: int) -> None:
        self._driver.malformed += 1
        self._resets.spend()
        self._reset(stream_id, ErrorCodes.PROTOCOL_ERROR)

    async def _drop(self, stream_id: int) -> None:
        """Forget a stream that was reset, and tell its app that its caller has left."""
        if stream_id in self.stream_buffers:
            await self.stream_buffers[stream_id].close()
        await super()._handle_events([h2.events.StreamReset(stream_id=stream_id)])

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
            buffer = self.stream_buffers.get(event.stream_id)
            if buffer is not None and not buffer.complete:  # its app has ended within the answer
                self._reset(event.stream_id, ErrorCodes.INTERNAL_ERROR)
                await self._drop(event.stream_id)
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
