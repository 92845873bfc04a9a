"""The requests of one HTTP/2 connection and their answers: hypercorn's protocol, within the driver's rules.

Differences to hypercorn:
- hypercorn never finds a connection idle whose last request was reset, and keeps the buffer of every reset
  request; here such a buffer is closed;
- DATA behind an early answer makes hypercorn raise; here it is dropped;
- hypercorn ends the connection for a wrong head, or raises, or serves it; here `http2_head` checks heads;
- hypercorn leaves an answer open that its app does not complete; here its stream is reset;
- priorities, which RFC 9113 has withdrawn, can loop and pile up; here streams take turns (`round_robin`);
- hypercorn opens websockets; here they are not offered;
- the client decides how much memory hypercorn uses for the fields of answers; here it has the usual bound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, Final

import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from fanout.server.asgi import App
from fanout.server.connection import Connection
from fanout.server.driver import Driver
from fanout.server.frames import Allowance
from fanout.server.head import CHUNKED
from fanout.server.http2_app import Tasks, for_http2
from fanout.server.http2_head import Malformed, check_head, check_trailers
from fanout.server.rejections import Rejected
from fanout.server.round_robin import RoundRobin
from fanout.server.statistics import End

_TABLE_BYTES: Final = 4096  # of remembered fields, RFC 7541


class Streams(H2Protocol, ABC):
    """Requests and answers; `Http2` reads and writes. While the app has a request, it is in `streams`."""

    is_stopped = False

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
            self.send_event,
        )
        self.priority = RoundRobin()  # type: ignore[assignment]
        del self.connection.local_settings[SettingCodes.ENABLE_CONNECT_PROTOCOL]
        self.connection.config.validate_inbound_headers = False  # `http2_head` does
        limits = driver.limits
        self.connection.decoder.max_header_list_size = limits.max_head_block_bytes
        self._driver = driver
        self._resets = Allowance(limits.max_resets, limits.resets_per_s)
        self._unended: set[int] = set()  # requests whose end has not arrived

    @abstractmethod
    async def send_event(self, event: Event) -> None:
        """Receives hypercorn's bytes, and `Closed` when the client has broken the protocol."""

    @abstractmethod
    def stop(self, end: End, error: ErrorCodes | None = None) -> None:
        """Read no more, and end. Every request that still runs receives a disconnect.

        error: sent to the client, unless it has received an error already.
        """

    @abstractmethod
    def note_whether_idle(self) -> None:
        """A request has begun or ended."""

    # What the client did

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()  # hypercorn never wakes tasks that wait for a window

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.TrailersReceived):
                await self._check_trailers(event)
            if isinstance(event, h2.events.StreamReset) and event.stream_id in self.stream_buffers:
                await self.stream_buffers[event.stream_id].close()  # else hypercorn keeps it for ever
            if self._is_for_hypercorn(event):
                await super()._handle_events([event])
            if self._resets.overdrawn:
                self.stop(End.FLOODING, ErrorCodes.ENHANCE_YOUR_CALM)
            if self.is_stopped:
                return  # noqa: ASYNC910 - the reader has passed a checkpoint
        await self._flush()

    def _is_for_hypercorn(self, event: h2.events.Event) -> bool:
        """Do the driver's part for an event. Returns whether hypercorn has to handle it, too."""
        match event:
            case h2.events.RequestReceived():
                return self._admits(event)
            case h2.events.StreamReset():  # by the client, or by h2 because of the client
                self._resets.spend()
                self._unended.discard(event.stream_id)
            case h2.events.StreamEnded():
                self._unended.discard(event.stream_id)
            case h2.events.DataReceived() if event.stream_id not in self.streams:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                return False
            case h2.events.RemoteSettingsChanged():
                encoder = self.connection.encoder
                if encoder.header_table_size > _TABLE_BYTES:  # to set the same value would hide a change
                    encoder.header_table_size = _TABLE_BYTES
            case h2.events.ConnectionTerminated():
                self.stop(End.CALLER_LEFT)
                return False
            case h2.events.PriorityUpdated():
                return False
        return True

    def _admits(self, event: h2.events.RequestReceived) -> bool:
        """Whether a new request may go to the app. If not, it is reset or answered here."""
        stream_id = event.stream_id
        assert stream_id is not None
        stream = self.connection.streams.get(stream_id)
        if stream is None or stream.closed:
            return False  # the client reset it within the same bytes
        if event.stream_ended is None:
            self._unended.add(stream_id)
        driver = self._driver
        try:
            length = check_head(event.headers, driver.limits, ended=event.stream_ended is not None)
        except Malformed:
            self._reset_malformed(stream_id)
            return False
        except Rejected as rejected:
            driver.malformed += 1
            self._answer_now(event, driver.last_answer(rejected.rejection))
            return False
        if length == CHUNKED:  # as a gateway to HTTP/1.1 would say it, which apps know
            event.headers.append((b"transfer-encoding", b"chunked"))
        if self._driver.draining:
            self._reset(stream_id, ErrorCodes.REFUSED_STREAM)
            return False
        answer = driver.refuse(0)
        if answer is not None:
            driver.refused += 1
            if self._window(stream_id) < len(answer):
                self._reset(stream_id, ErrorCodes.REFUSED_STREAM)  # the client may repeat it
            else:
                self._answer_now(event, answer)
            return False
        driver.requests += 1
        return True

    def _answer_now(self, request: h2.events.RequestReceived, answer: bytes) -> None:
        """Send a complete HTTP/1.1 answer over HTTP/2, with its body if that fits the window."""
        stream_id = request.stream_id
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        pairs = [(b":status", status.split(b" ")[1])]
        pairs += [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        if (b":method", b"HEAD") in request.headers:
            body = b""
        elif self._window(stream_id) < len(body):
            body = b""
            pairs = [(name, value) for name, value in pairs if name != b"content-length"]
        with suppress(h2.exceptions.ProtocolError):  # the client has sent GOAWAY in the same bytes
            self.connection.send_headers(stream_id, pairs, end_stream=not body)
            if body:
                self.connection.send_data(stream_id, body, end_stream=True)
            self._end_request(stream_id)

    def _window(self, stream_id: int) -> int:
        with suppress(h2.exceptions.ProtocolError):  # the stream is closed
            return self.connection.local_flow_control_window(stream_id)
        return 0

    async def _check_trailers(self, event: h2.events.TrailersReceived) -> None:  # noqa: ASYNC910 - the app is at its end
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
        """Forget a stream that was reset, and send its app a disconnect."""
        if stream_id in self.stream_buffers:
            await self.stream_buffers[stream_id].close()
        await super()._handle_events([h2.events.StreamReset(stream_id=stream_id)])

    def _end_request(self, stream_id: int) -> None:
        """The answer is complete. If the request is not, ask the client to stop (RFC 9113 8.1)."""
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
            if buffer is not None and not buffer.complete:  # the app has returned within the answer
                self._reset(event.stream_id, ErrorCodes.INTERNAL_ERROR)
                await self._drop(event.stream_id)
            await self._close_stream(event.stream_id)
            self.note_whether_idle()
        else:
            await super().stream_send(event)

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        if stream_id not in self.stream_buffers:
            self._end_request(stream_id)
            await self._flush()
            self.note_whether_idle()
