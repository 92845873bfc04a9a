"""The requests of one HTTP/2 connection and their answers: hypercorn's protocol, within our rules.

What hypercorn does, and is done otherwise here:
- it never finds a connection idle whose last request was reset, and keeps the buffer of each that was;
- DATA behind an early answer raises: it is dropped;
- a head that breaks the rules ends the connection, or raises, or is served: `http2_head` has them instead;
- an answer that its app does not complete is left open: its stream is reset;
- priorities, which RFC 9113 has withdrawn, can loop and pile up: streams take turns (`turns`);
- it opens websockets: not offered;
- the client decides how much is remembered of answers' fields: not more than is usual.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, Final

import h2.events
import h2.exceptions
import trio
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

from fanout.web.asgi import App
from fanout.web.driver.answer import problem_bytes
from fanout.web.driver.connection import Connection
from fanout.web.driver.driver import Driver
from fanout.web.driver.frames import Allowance
from fanout.web.driver.head import CHUNKED
from fanout.web.driver.http2_app import Tasks, for_http2
from fanout.web.driver.http2_head import Malformed, check_head, check_trailers
from fanout.web.driver.refusals import Refused
from fanout.web.driver.round_robin import RoundRobin
from fanout.web.driver.statistics import End

_TABLE_BYTES: Final = 4096  # of fields that are remembered, RFC 7541


class Streams(H2Protocol, ABC):
    """`Http2` reads and writes for it. While the app has a request, its stream is in `streams`."""

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
        self._unended: set[int] = set()  # requests that are still to come to their end

    @abstractmethod
    async def send_event(self, event: Event) -> None:
        """Where hypercorn hands over bytes, and says that the client has broken the protocol."""

    @abstractmethod
    def stop(self, end: End, error: ErrorCodes | None = None) -> None:
        """Read no more, and end: every request that still runs is told that its client has left.

        error: what to tell the client, if it has not been told.
        """

    @abstractmethod
    def note_whether_idle(self) -> None:
        """A request has begun or ended."""

    # What the client did

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
                self.stop(End.FLOODING, ErrorCodes.ENHANCE_YOUR_CALM)
            if self.is_stopped:
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
                self.stop(End.CALLER_LEFT)
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
        if length == CHUNKED:  # what a gateway to HTTP/1.1 makes of it, and an app knows
            event.headers.append((b"transfer-encoding", b"chunked"))
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
        """Send a complete HTTP/1.1 answer as one of HTTP/2; its body only if the client takes it at once."""
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
            self.note_whether_idle()
        else:
            await super().stream_send(event)

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        if stream_id not in self.stream_buffers:
            self._end_request(stream_id)
            await self._flush()
            self.note_whether_idle()
