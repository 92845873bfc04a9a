"""One HTTP/1.x request and its answer, as ASGI: `receive` and `send`.

Rule 1: one write per answer. The head waits for the first bytes of the body. An answer of known length is
        complete with its last byte, not with the empty message behind it.
Rule 2: once the answer is complete, `receive` returns `http.disconnect`, as ASGI has it, and a client
        disconnect no longer cancels the app: it can lose nothing by it any more.
Rule 3: while the request runs, nothing behind it is read. A client disconnect cancels the connection, and the
        app with it (`loop/sockets`). FIN counts as a disconnect: a client that half-closes gets no answer.
"""

from __future__ import annotations

from math import inf
from typing import Final

import trio

from fanout.server.answer import LAST_CHUNK, NO_CONTENT, DateField, chunk, head_bytes, read_start
from fanout.server.asgi import Message, start_of
from fanout.server.connection import Connection
from fanout.server.head import Head
from fanout.server.http1_reader import Reader
from fanout.server.rejections import Rejected
from fanout.server.statistics import End

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"  # the only 1xx: sent when the app asks for a body
BODYLESS: Final = frozenset((NO_CONTENT, 304))
_CHUNKS: Final = -1
_UNTIL_CLOSE: Final = -2
_NOTHING: Final = -3


class Request:
    """The app's side of one request. One task may call `receive` and one `send`, as in ASGI.

    An app that breaks the ASGI protocol gets a `RuntimeError`. A client disconnect cancels the app, whatever
    it waits for. Before the answer is complete, `receive` returns `http.disconnect` only if the disconnect
    shows in the body.
    """

    __slots__ = (
        "_body_by",
        "_body_told",
        "_connection",
        "_date",
        "_framing",
        "_head",
        "_on_sent",
        "_reader",
        "_start",
        "client_left",
        "complete",
        "is_sent",
        "keep_alive",
        "rejected",
        "started",
    )

    def __init__(self, connection: Connection, date: DateField, head: Head, reader: Reader) -> None:
        self._connection = connection
        self._date = date
        self._head = head
        self._reader = reader
        self._on_sent: trio.Event | None = None  # only if the app waits for it
        self._body_by = inf
        self._body_told = False
        self._start: Message | None = None
        self._framing = _NOTHING
        self.keep_alive = head.keep_alive
        self.client_left = False
        self.rejected: Rejected | None = None  # the body turned out to be malformed
        self.started = False  # bytes of the answer were written
        self.complete = False  # all of them are made
        self.is_sent = False  # and the kernel has them

    async def receive(self) -> Message:
        """The body in pieces of at most 64 KiB, each read on demand.

        After the body's end it waits for the end of the answer.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if (self._body_told or self.complete) and not self.is_sent:
            self._on_sent = self._on_sent or trio.Event()
            await self._on_sent.wait()
        if self.is_sent:
            await trio.lowlevel.checkpoint()
            return {"type": "http.disconnect"}
        piece = b"" if self._reader.ended else await self._read_body()
        if self.client_left or self.rejected:
            return {"type": "http.disconnect"}
        self._body_told = self._reader.ended
        return {"type": "http.request", "body": piece, "more_body": not self._body_told}

    async def send(self, message: Message) -> None:
        """Take the head, or write a part of the body, or all at once. Returns when the kernel has it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._start = start_of(self._start, message)
        if message["type"] == "http.response.start":
            return
        body = message.get("body", b"")
        is_last = not message.get("more_body", False)
        if self.complete:
            if body and self._framing != _NOTHING:
                raise RuntimeError("a body beyond its end")
            return
        head = b"" if self.started else self._begin(self._start, body, is_last)
        data = head + self._frame(body, is_last)  # a bug of the app shows before anything is sent
        self.started = True
        await self._write(data)
        if not is_last:
            await trio.lowlevel.checkpoint()  # a long answer to a fast reader lets others run

    def _begin(self, start: Message, body: bytes, is_last: bool) -> bytes:
        """The head, which says how the body ends."""
        fields, length, has_date, closes = read_start(start)
        if closes:
            self.keep_alive = False
        if not has_date:
            fields.append((b"date", self._date.value(self._connection.now())))
        status = start["status"]
        if length is None and is_last and status not in BODYLESS:
            length = len(body)
            fields.append((b"content-length", b"%d" % length))
        if status in BODYLESS or self._head.method == "HEAD":
            self._framing = _NOTHING
        elif length is not None:
            self._framing = length
        elif self._head.version == "1.1":
            self._framing = _CHUNKS
            fields.append((b"transfer-encoding", b"chunked"))
        else:
            self._framing = _UNTIL_CLOSE
            self.keep_alive = False
        if not self._reader.ended or self._connection.closes_after_answer:
            self.keep_alive = False
        if not self.keep_alive:
            fields.append((b"connection", b"close"))
        elif self._head.version == "1.0":
            fields.append((b"connection", b"keep-alive"))
        return head_bytes(status, fields)

    def _frame(self, body: bytes, is_last: bool) -> bytes:
        """The body as it goes over the wire. Sets `complete` if the answer ends with it."""
        framing = self._framing
        if framing == _NOTHING:
            self.complete = True
            return b""
        if framing == _CHUNKS:
            self.complete = is_last
            return (chunk(body) if body else b"") + (LAST_CHUNK if is_last else b"")
        if framing == _UNTIL_CLOSE:
            self.complete = is_last
            return body
        self._framing = left = framing - len(body)
        if left < 0 or (is_last and left):
            raise RuntimeError(f"the body ends {left} bytes from where content-length says")
        self.complete = not left
        return body

    async def _write(self, data: bytes) -> None:  # noqa: ASYNC910 - `send` has passed one
        """Write all of it within the bound, or end the connection. Never shielded."""
        connection = self._connection
        try:
            if not connection.transport.send_now(data):
                connection.reset = True  # in case it ends now, for any reason
                await connection.flush()
                connection.reset = False
        except trio.BrokenResourceError:
            connection.cut(End.CLIENT_DISCONNECTED)
            await trio.lowlevel.checkpoint()  # raises Cancelled
        if self.complete:
            connection.answered()
            self.is_sent = True
            if self._on_sent is not None:
                self._on_sent.set()

    async def _read_body(self) -> bytes:  # noqa: ASYNC910 - `receive` has passed one
        connection = self._connection
        if self._body_by == inf:
            self._body_by = connection.now() + connection.limits.body_timeout_s
            if self._head.expects_continue and not self._reader.ahead and not self.started:
                await self._write(_CONTINUE)
        connection.read_within(self._body_by - connection.now())
        try:
            return await self._reader.read_body()
        except trio.BrokenResourceError:
            self.client_left = True
        except Rejected as rejected:
            self.rejected = rejected
        finally:
            # Once the answer is complete the deadline is another one; once cancelled it says why.
            if not self.complete and not connection.scope.cancel_called:
                connection.read_within(inf)
        return b""  # noqa: ASYNC910 - as above
