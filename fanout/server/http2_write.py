"""The answers on one HTTP/2 connection: a request as ASGI, and the one task that writes.

Rule 1: only the `Writer` asks h2 for bytes. It frames bodies only when all before them was written, so an
        answer takes memory once, and streams take turns, a frame each.
Rule 2: once the answer is complete, `receive` returns `http.disconnect`, as ASGI has it, and a client
        disconnect no longer cancels the app: it can lose nothing by it any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio
from h2.connection import H2Connection

from fanout.server import rejections
from fanout.server.answer import check_values, read_start
from fanout.server.asgi import Message, start_of
from fanout.server.connection import DISCONNECT, Connection
from fanout.server.driver import Driver
from fanout.server.head import Head
from fanout.server.statistics import End

_WRITE_BYTES: Final = 64 * 1024  # of bodies, at once
_BODYLESS: Final = frozenset((204, 304))


class Stream:
    """One request, as ASGI: one task may call `receive` and one `send`.

    An app that breaks the ASGI protocol gets a `RuntimeError`. A client disconnect or a reset of the stream
    cancels the app, whatever it waits for. It is the scope's `Client`.
    """

    def __init__(
        self, driver: Driver, connection: Connection, writer: Writer, stream_id: int, head: Head
    ) -> None:
        self.stream_id: Final = stream_id
        self.cancel_scope: Final = trio.CancelScope()
        self.unsent: memoryview = memoryview(b"")  # of the body
        self.is_last = False  # the app has sent its last message
        self.has_started = False  # h2 has the head
        self.is_complete = False  # h2 has all of it
        self.request_ended = False
        self.missing_bytes = head.body_length  # of the request's body; negative if it has no length
        self._driver = driver
        self._connection = connection
        self._writer = writer
        self._method = head.method
        self._expects_continue = head.expects_continue  # and has sent nothing of its body yet
        self._left: int | None = None  # of the body, if the answer says its length
        self._start: Message | None = None
        self._body: list[bytes] = []  # of the request, not yet received
        self._body_told = False
        self._is_written = False  # the transport has all of the answer
        self._left_at: float | None = None
        self._body_comes = trio.lowlevel.ParkingLot()
        self._is_sent = trio.lowlevel.ParkingLot()

    @property
    def left_at(self) -> float | None:
        return self._connection.left_at if self._left_at is None else self._left_at

    def reads_too_slowly(self) -> None:
        self._connection.cut(End.SLOW_READER)

    def client_left(self) -> None:
        """The stream was reset, or its connection ends."""
        if not self.is_complete:
            self._left_at = self._connection.now()
            self.cancel_scope.cancel(reason=DISCONNECT)

    def body_came(self, data: bytes, *, ended: bool = False) -> None:
        if self._left_at is not None:
            return  # h2 reports the end also behind malformed trailers, for which the stream was reset
        if not self.is_last:  # else nobody receives it, and a client that does not read could fill the memory
            self._body.append(data)
        self.missing_bytes -= len(data)
        self.request_ended = ended
        self._expects_continue = False
        self._body_comes.unpark_all()

    async def receive(self) -> Message:
        """The body that has come. After its end it waits for the end of the answer."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._expects_continue and not self.has_started:
            self._expects_continue = False
            self._writer.send_continue(self)
        while not self._is_written and (
            self.is_last or self._body_told or not (self._body or self.request_ended)
        ):
            await self._body_comes.park()
        if self._is_written:
            await trio.lowlevel.checkpoint()
            return {"type": "http.disconnect"}
        body = b"".join(self._body)
        self._body.clear()
        self._body_told = self.request_ended
        return {"type": "http.request", "body": body, "more_body": not self._body_told}

    async def send(self, message: Message) -> None:
        """Queue the head, or a part of the body, or all at once. Returns when the transport has it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._start = start_of(self._start, message)
        if message["type"] == "http.response.start":
            return
        if not self.is_last:
            await self._send_body(self._start, message.get("body", b""), not message.get("more_body", False))

    async def send_internal_error(self) -> None:
        self.unsent = memoryview(b"")
        fields, body = self._driver.render(rejections.INTERNAL)
        fields.append((b"content-length", b"%d" % len(body)))
        await self._send_body({"status": rejections.INTERNAL.status, "headers": fields}, body, True)

    async def _send_body(self, start: Message, body: bytes, is_last: bool) -> None:
        has_body = start["status"] not in _BODYLESS and self._method != "HEAD"
        fields, left = self._head(start) if not self.has_started else ([], self._left)
        if has_body and left is not None:
            left -= len(body)
            if left < 0 or (is_last and left):
                raise RuntimeError(f"the body ends {left} bytes from where content-length says")
        self._left = left
        self.is_last = is_last or not has_body
        if has_body:  # behind a part whose `send` was cancelled
            self.unsent = memoryview(bytes(self.unsent) + body)
        if not self.has_started:
            self._writer.send_head(self, fields)
            self.has_started = True
        self._writer.send_body(self)
        timeouts = self._driver.timeouts
        with trio.move_on_after(timeouts.timeout_s(timeouts.limits.write_timeout_s)) as timeout:
            timeouts.of_streams[timeout] = None
            try:
                await self._is_sent.park()
            finally:
                del timeouts.of_streams[timeout]
        if timeout.cancelled_caught and not self.is_complete:
            self._writer.on_stuck(self)
            await trio.lowlevel.checkpoint()  # raises Cancelled
        elif timeout.cancelled_caught and not self._is_written:
            await self._is_sent.park()  # within the bound of the transport's write

    def _head(self, start: Message) -> tuple[list[tuple[bytes, bytes]], int | None]:
        """The fields of the answer, and the length of its body if it says that."""
        fields, length, has_date, _ = read_start(start)
        check_values(fields)
        if any(name == b"te" for name, _ in fields):  # h2 refuses it when the head is half encoded
            raise ValueError("an answer over HTTP/2 has no te (RFC 9113 8.2.2)")
        if not has_date:
            fields.append((b"date", self._driver.date.value(self._connection.now())))
        return [(b":status", b"%d" % start["status"]), *fields], length

    def part_sent(self) -> None:
        """The transport has all that the app has sent."""
        self._is_sent.unpark_all()
        if self.is_complete:
            self._is_written = True
            self._body_comes.unpark_all()


class Writer:
    """Writes what h2 has to send.

    on_answered: an answer is complete. on_stuck: its client has not taken one in time; it ends the app.
    on_written: the transport has everything.
    """

    def __init__(
        self,
        connection: Connection,
        h2: H2Connection,
        on_answered: Callable[[Stream], None],
        on_stuck: Callable[[Stream], None],
        on_written: Callable[[], None],
    ) -> None:
        self.on_stuck: Final = on_stuck
        self.is_writing = False  # the transport has yet to take what was sent
        self._connection = connection
        self._h2 = h2
        self._on_answered = on_answered
        self._on_written = on_written
        self._sending: dict[int, Stream] = {}  # with a body to be sent, in their turn
        self._has_nothing = trio.lowlevel.ParkingLot()
        self._is_written = trio.lowlevel.ParkingLot()
        self._is_over = False

    async def run(self) -> None:  # noqa: ASYNC910 - the next step waits for the other tasks
        """Write until `end`. Raises `trio.BrokenResourceError`."""
        while True:  # noqa: ASYNC913 - every round waits or ends
            framed = self._frame_bodies()
            data = self._h2.data_to_send()
            if data:
                self.is_writing = True
                await self._connection.send(data)
                self.is_writing = False
                self._is_written.unpark_all()
            for stream in framed:
                stream.part_sent()
            if data or framed:
                await trio.lowlevel.checkpoint()  # a client that always reads lets others run
            elif self._is_over:
                return  # noqa: ASYNC910 - as above
            else:
                self._on_written()
                await self._has_nothing.park()

    async def written(self) -> None:  # noqa: ASYNC910 - the reader has passed a checkpoint
        """Wait while the client does not read. Else it could ask for more and more to be written."""
        while self.is_writing:
            await self._is_written.park()

    def wake(self) -> None:
        """h2 may have something to send."""
        self._has_nothing.unpark_all()

    def end(self) -> None:
        """Write what there is, and then no more."""
        self._is_over = True
        self.wake()

    def send_head(self, stream: Stream, fields: list[tuple[bytes, bytes]]) -> None:
        self._h2.send_headers(stream.stream_id, fields)

    def send_continue(self, stream: Stream) -> None:
        """Send the only interim answer, 100, and no fields with it."""
        self._h2.send_headers(stream.stream_id, [(b":status", b"100")])
        self.wake()

    def send_body(self, stream: Stream) -> None:
        """Queue what `stream` has to send. `Stream.part_sent` is called when it is written."""
        self._sending[stream.stream_id] = stream
        self.wake()

    def forget(self, stream: Stream) -> None:
        self._sending.pop(stream.stream_id, None)

    def forget_all(self) -> None:
        self._sending.clear()

    def _frame_bodies(self) -> list[Stream]:
        """Frame parts of bodies, as the windows allow. Returns the streams of which no more is waiting."""
        framed: list[Stream] = []
        left = _WRITE_BYTES
        for stream_id, stream in list(self._sending.items()):
            window = min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)
            data = bytes(stream.unsent[: max(0, window)])
            stream.unsent = stream.unsent[len(data) :]
            is_end = stream.is_last and not stream.unsent
            if data or is_end:
                self._h2.send_data(stream_id, data, end_stream=is_end)
            elif stream.unsent:
                continue  # its window is empty
            del self._sending[stream_id]
            if stream.unsent:
                self._sending[stream_id] = stream  # behind all others
            else:
                framed.append(stream)
            if is_end:
                stream.is_complete = True
                self._on_answered(stream)
            left -= len(data)
            if left <= 0:
                break
        return framed
