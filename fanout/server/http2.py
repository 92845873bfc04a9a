"""HTTP/2 on one connection: h2 reads and makes the frames, within the driver's bounds.

Rule 1: nothing is shielded. One task writes for all requests, so cancelling any other task breaks nothing.
        The connection's deadline ends a client that does not read.
Rule 2: bytes are counted before they are parsed (`frames`). They are parsed in small pieces, so that other
        tasks run in between. A piece of many frames waits for its turn: an event-loop iteration has two.
Rule 3: a client's mistake is `REFUSED` or `FLOODING`, and never a crash.
Rule 4: what a piece brings is handled without a checkpoint. So a request that h2 has closed is cancelled
        before its app runs again.

Priorities, which RFC 9113 has withdrawn, are ignored: streams take turns.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import trio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fanout.server.asgi import App, Scope, http_scope
from fanout.server.connection import Connection, State
from fanout.server.driver import Driver
from fanout.server.frames import Allowance, Frames
from fanout.server.http2_head import Malformed, check_trailers, read_head
from fanout.server.http2_write import Stream, Writer
from fanout.server.rejections import Rejected
from fanout.server.statistics import End

_PIECE_BYTES: Final = 1024  # parsed at once: at most 113 frames, or 80 requests
_FEW_FRAMES: Final = 8  # a piece with more frames waits for its turn
_TABLE_BYTES: Final = 4096  # of remembered fields, RFC 7541


class Http2:
    """The protocol of one connection. `run` it once."""

    def __init__(
        self, driver: Driver, connection: Connection, app: App, lifespan_state: dict[str, Any]
    ) -> None:
        self._driver = driver
        self._limits = driver.limits
        self._connection = connection
        self._app = app
        self._lifespan_state = lifespan_state
        self._h2 = _h2_connection(self._limits.max_streams, self._limits.max_head_bytes)
        self._h2.decoder.max_header_list_size = self._limits.max_head_block_bytes
        self._frames = Frames(self._limits)
        self._resets = Allowance(self._limits.max_resets, self._limits.resets_per_s)
        self._streams: dict[int, Stream] = {}  # requests whose app has yet to return
        self._writer = Writer(connection, self._h2, self._answered, self._stuck, self._written)
        self._is_stopped = False  # no more is read
        self._reading = trio.CancelScope()

    async def run(self) -> None:
        """Serve until either side ends it. The connection records how it ended."""
        try:
            await self._serve()
        finally:
            try:
                self._say_goodbye()
            finally:  # no task runs any more. To clear a dictionary cannot raise; these objects are cycles
                self._writer.forget_all()
                vars(self._h2).clear()
                vars(self).clear()

    def _say_goodbye(self) -> None:
        """Tell the client of an idle connection, which the driver ends, that none of its requests is lost."""
        if self._is_stopped or self._streams or self._writer.is_writing:
            return
        with suppress(trio.BrokenResourceError):
            self._h2.close_connection(ErrorCodes.NO_ERROR)
            self._connection.transport.send_now(self._h2.data_to_send())

    async def _serve(self) -> None:  # noqa: ASYNC910 - the task of a connection, and its last act
        self._connection.wait(State.HEAD, self._limits.head_timeout_s)
        self._h2.initiate_connection()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            async with trio.open_nursery() as self._apps:
                with self._reading:
                    await self._read()
                    self._stop(End.CLIENT_DISCONNECTED)
            self._writer.end()
        if self._connection.end is End.DRAINED:  # most clients still send frames, while they read the answer
            await self._connection.wait_for_the_end()

    async def _read(self) -> None:  # noqa: ASYNC910 - receiving is a checkpoint
        """Read until the client disconnects, or a mistake of its."""
        with suppress(trio.BrokenResourceError):
            while data := await self._connection.transport.receive():
                for at in range(0, len(data), _PIECE_BYTES):
                    piece = data[at : at + _PIECE_BYTES]
                    before = self._frames.number
                    error = self._frames.count(piece)
                    if error is not None:
                        self._stop(End.FLOODING, error)
                    if self._frames.number - before > _FEW_FRAMES:
                        await self._driver.pieces.next()
                    else:
                        await trio.lowlevel.checkpoint()  # other tasks run; a stopped reader ends here
                    await self._writer.written()
                    if self._is_stopped:  # during `next`, which ends in a shielded checkpoint
                        return
                    self._take(piece)

    async def _write(self) -> None:  # noqa: ASYNC910 - the next step waits for the other tasks
        try:
            await self._writer.run()
        except trio.BrokenResourceError:  # nothing can be written any more, so no app waits for its answer
            self._stop(End.CLIENT_DISCONNECTED)
            self._connection.cut(End.CLIENT_DISCONNECTED)

    def _refuse(self, error: ErrorCodes | None = None) -> None:
        """The client has sent what is not HTTP/2. error: if h2 does not send it by itself."""
        self._driver.malformed += 1
        self._stop(End.REFUSED, error)

    def _stop(self, end: End, error: ErrorCodes | None = None) -> None:
        """Read no more, cancel the requests that still run, and end. error: sent to the client."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._connection.end = end
        limits = self._limits  # the last answer may still be written, and has as long as any other
        self._connection.linger(limits.write_timeout_s if end is End.DRAINED else limits.linger_timeout_s)
        if error is not None:
            self._h2.close_connection(error)
        self._writer.forget_all()
        for stream in self._streams.values():
            stream.client_left()
        self._reading.cancel(reason=end)

    def _note_whether_idle(self) -> None:
        """A connection without a request ends while draining, or after its last answer.

        RFC 9113 6.8 describes a first GOAWAY that excludes no request. We do not send it, because clients
        built on h2, httpx among them, fail their requests when they read it. A client may repeat the requests
        that our GOAWAY excludes.
        """
        if self._is_stopped:
            return
        if self._streams:
            self._connection.work()
        elif self._owes_a_request and self._is_last:
            self._stop(End.DRAINED, ErrorCodes.NO_ERROR)
        self._writer.wake()

    def _written(self) -> None:
        """The transport has everything, so a connection without a request is idle. Before, it could be ended
        as an idle one, and its client would lose an answer."""
        if self._is_stopped or self._streams or not self._owes_a_request:
            return
        if self._is_last:
            self._stop(End.DRAINED, ErrorCodes.NO_ERROR)
        else:
            self._connection.wait_idle()

    @property
    def _owes_a_request(self) -> bool:
        """Whether the client, if none of its requests is running, has to send one now."""
        state = self._connection.state
        return state is State.BUSY or (state is State.HEAD and self._frames.number > 0)

    @property
    def _is_last(self) -> bool:
        """Whether the connection ends with the request that was answered."""
        connection = self._connection
        return self._driver.draining or (connection.closes_after_answer and connection.state is State.BUSY)

    # What the client sends

    def _take(self, piece: bytes) -> None:
        if self._frames.have_stray:  # h2 would let it pass on a stream that was reset
            self._refuse(ErrorCodes.PROTOCOL_ERROR)
            return
        try:
            events = self._h2.receive_data(piece)
        except h2.exceptions.ProtocolError:
            self._refuse()
            return
        for event in events:
            self._on_event(event)
            if self._resets.overdrawn:
                self._stop(End.FLOODING, ErrorCodes.ENHANCE_YOUR_CALM)
            if self._is_stopped:
                return
        self._note_whether_idle()

    def _on_event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self._on_request(event)
            case h2.events.DataReceived():
                if event.stream_id in self._streams:
                    self._streams[event.stream_id].body_came(event.data)
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                if event.stream_id in self._streams:
                    self._streams[event.stream_id].body_came(b"", ended=True)
            case h2.events.TrailersReceived():
                stream = self._streams.get(event.stream_id)
                try:
                    check_trailers(event.headers, 0 if stream is None else stream.missing_bytes)
                except Malformed:
                    self._reset_malformed(event.stream_id)
            case h2.events.StreamReset():  # by the client, or by h2 because of the client
                self._resets.spend()
                self._drop(event.stream_id)
            case h2.events.RemoteSettingsChanged():
                encoder = self._h2.encoder
                encoder.header_table_size = min(encoder.header_table_size, _TABLE_BYTES)
                # hpack forgets a change when the same size is set again
                encoder.header_table.resized = bool(encoder.table_size_changes)
            case h2.events.ConnectionTerminated():
                self._stop(End.CLIENT_DISCONNECTED)

    def _on_request(self, event: h2.events.RequestReceived) -> None:
        """Begin a new request, unless it is malformed or shed."""
        stream_id, driver = event.stream_id, self._driver
        h2_stream = self._h2.streams.get(stream_id)
        if h2_stream is None or h2_stream.closed:
            return  # the client reset it within the same bytes
        ended = event.stream_ended is not None
        try:
            head = read_head(event.headers, self._limits, ended=ended)
        except Malformed:
            self._reset_malformed(stream_id)
            return
        except Rejected as rejected:
            driver.malformed += 1
            self._answer_now(event, driver.last_answer(rejected.rejection))
            return
        if driver.draining:
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        answer = driver.shed(driver.beginning)
        if answer is not None:
            driver.refused += 1
            if self._h2.local_flow_control_window(stream_id) < len(answer):
                self._reset(stream_id, ErrorCodes.REFUSED_STREAM)  # the client may repeat it
            else:
                self._answer_now(event, answer)
            return
        driver.requests += 1
        stream = Stream(driver, self._connection, self._writer, stream_id, head)
        self._streams[stream_id] = stream
        scope = http_scope(
            head, self._connection.transport, self._lifespan_state, trio.current_time(), stream
        )
        self._apps.start_soon(self._run_app, stream, scope)
        driver.beginning += 1  # last, because only the task that was started counts it down again

    def _answer_now(self, request: h2.events.RequestReceived, answer: bytes) -> None:
        """Send a complete HTTP/1.1 answer over HTTP/2, with its body if that fits the window."""
        stream_id = request.stream_id
        if self._connection.closes_after_answer:
            self._connection.work()  # so that it ends after this answer, as after any other
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        pairs = [(b":status", status.split(b" ")[1])]
        pairs += [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        if (b":method", b"HEAD") in request.headers:
            body = b""
        elif self._h2.local_flow_control_window(stream_id) < len(body):
            body = b""
            pairs = [(name, value) for name, value in pairs if name != b"content-length"]
        with suppress(h2.exceptions.ProtocolError):  # the client has sent GOAWAY in the same bytes
            self._h2.send_headers(stream_id, pairs, end_stream=not body)
            if body:
                self._h2.send_data(stream_id, body, end_stream=True)
            if request.stream_ended is None:
                self._reset(stream_id, ErrorCodes.NO_ERROR)

    def _reset_malformed(self, stream_id: int) -> None:
        self._driver.malformed += 1
        self._resets.spend()
        self._reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
        self._drop(stream_id)

    def _reset(self, stream_id: int, error: ErrorCodes) -> None:
        with suppress(h2.exceptions.ProtocolError):  # it is closed already
            self._h2.reset_stream(stream_id, error)

    def _drop(self, stream_id: int) -> None:
        """Cancel the request of a stream that was reset."""
        if stream_id in self._streams:
            self._writer.forget(self._streams[stream_id])
            self._streams[stream_id].client_left()

    # What the app sends

    async def _run_app(  # noqa: ASYNC910 - the task of a request, and its last act
        self, stream: Stream, scope: Scope
    ) -> None:
        self._driver.beginning -= 1
        with stream.cancel_scope:
            crashed = False
            try:
                await self._app(scope, stream.receive, stream.send)
            except* Exception as group:  # noqa: BLE001 - the guard
                crashed = True
                self._driver.report(group)
            if not stream.is_complete and stream.left_at is None:
                if not crashed:
                    self._driver.report(RuntimeError("the app returned without a complete answer"))
                if stream.has_started:
                    self._reset(stream.stream_id, ErrorCodes.INTERNAL_ERROR)
                else:
                    await stream.send_internal_error()
        self._writer.forget(stream)
        self._streams.pop(stream.stream_id, None)
        self._note_whether_idle()

    def _answered(self, stream: Stream) -> None:
        """The answer is complete. If the request is not, ask the client to stop (RFC 9113 8.1)."""
        if not stream.request_ended:
            self._reset(stream.stream_id, ErrorCodes.NO_ERROR)
        del self._streams[stream.stream_id]
        self._note_whether_idle()

    def _stuck(self, stream: Stream) -> None:
        """Its client takes no more of this answer. Requests that still run do not pay for that, nor answers
        that the transport has yet to take."""
        if len(self._streams) == 1 and not self._writer.is_writing:
            self._connection.cut(End.SLOW_READER)
            return
        self._resets.spend()
        self._reset(stream.stream_id, ErrorCodes.CANCEL)
        self._drop(stream.stream_id)


def _h2_connection(max_streams: int, max_head_bytes: int) -> h2.connection.H2Connection:
    # `http2_head` checks heads: h2 would end the connection for one that is wrong.
    config = h2.config.H2Configuration(client_side=False, validate_inbound_headers=False)
    connection = h2.connection.H2Connection(config)
    connection.local_settings = h2.settings.Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: max_streams,
            SettingCodes.MAX_HEADER_LIST_SIZE: max_head_bytes,
        },
    )
    return connection
