"""Reads requests from one HTTP/1.x connection: heads, and bodies on demand.

`head` has the grammar of a head. llhttp (through httptools, one parser per connection) has the second opinion
on it, and decodes the body.

Rule: llhttp gets the bytes of one message at a time, because it does not report where in its input one ended.
      The end of the head is searched for and a length is counted; a chunked body is the last message.
"""

from __future__ import annotations

from typing import Final

import httptools
import trio

from fanout.server import rejections
from fanout.server.connection import Connection, State
from fanout.server.head import CHUNKED, Head, check_size, check_unfinished, parse_head
from fanout.server.rejections import Rejected, malformed

END_OF_HEAD: Final = b"\r\n\r\n"
_HEAD: Final = b"HEAD "


class _Events:
    """What llhttp has found. An object of its own, so that parser and owner are not a reference cycle."""

    __slots__ = ("message_ended", "pieces", "saw_head")

    def __init__(self) -> None:
        self.saw_head = False
        self.message_ended = False
        self.pieces: list[bytes] = []

    def on_headers_complete(self) -> None:
        self.saw_head = True

    def on_body(self, piece: bytes) -> None:
        if not self.message_ended:
            self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.message_ended = True


class Reader:
    """ahead: bytes that were received and are not yet part of a request. ended: the body was read."""

    __slots__ = ("_connection", "_events", "_left", "_limits", "_llhttp", "_transport", "ahead", "ended")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._limits = connection.limits
        self._events = _Events()
        self._llhttp = httptools.HttpRequestParser(self._events)
        self._left = 0
        self.ahead = b""
        self.ended = True

    def has_bytes(self) -> bool:
        """Whether the client has sent more than the requests that were read, or has yet to send it."""
        return bool(self.ahead) or not self.ended or self._transport.has_bytes()

    async def read_head(self, data: bytes) -> Head | None:
        """The head that `data` begins with; `None` if the client disconnects within it. Raises `Rejected`."""
        passed_over = data.startswith(b"\r\n")  # some clients end a body with an extra line; RFC 9112 2.2
        if passed_over:
            data = data[2:]
        end = data.find(END_OF_HEAD)
        if end < 0:
            self._connection.wait(State.HEAD, self._limits.head_timeout_s)
        checked = 0
        try:
            while end < 0:
                check_unfinished(data, checked, self._limits)
                checked = len(data)
                self._connection.is_for_head = data.startswith(_HEAD)  # in case the rest comes too slowly
                more = await self._transport.receive()
                if not more:
                    return None
                data += more
                if not passed_over and data.startswith(b"\r\n"):  # the extra line came in two pieces
                    data, checked, passed_over = data[2:], 0, True
                end = data.find(END_OF_HEAD, max(0, checked - 3))
            end += len(END_OF_HEAD)
            check_size(data, end, self._limits)
            head_bytes, self.ahead = data[:end], data[end:]
            head = parse_head(head_bytes, self._limits)
            self._check(head_bytes, head.body_length)
        except Rejected:
            self._connection.is_for_head = data.startswith(_HEAD)
            raise
        return head  # noqa: ASYNC910 - reading its first bytes was a checkpoint

    def _check(self, head: bytes, body_length: int) -> None:
        """Raise `Rejected` if llhttp reads the head differently."""
        events = self._events
        events.saw_head = events.message_ended = False
        try:
            self._llhttp.feed_data(head)
        except httptools.HttpParserInvalidMethodError:
            raise Rejected(rejections.METHOD_NOT_IMPLEMENTED) from None
        except httptools.HttpParserUpgrade:
            pass  # ignored, and nothing is read behind it
        except httptools.HttpParserCallbackError as error:
            raise _raised_in_callback(error) from None
        except httptools.HttpParserError:
            raise malformed("The head is not valid HTTP/1.1.") from None
        if not events.saw_head or events.message_ended != (body_length == 0):
            raise malformed("The head is not valid HTTP/1.1.")
        self._left = body_length
        self.ended = body_length == 0

    async def read_body(self) -> bytes:
        """Some bytes of the body; none at its end.

        Raises `Rejected`, and `trio.BrokenResourceError` if the client disconnects.
        """
        while True:  # noqa: ASYNC913 - `ahead` is used up in one turn
            data = self.ahead or await self._transport.receive()
            if not data:
                raise trio.BrokenResourceError("the client disconnected")
            piece, self.ahead = self._decode(data)
            if piece or self.ended:
                return piece  # noqa: ASYNC910 - as above

    def _decode(self, data: bytes) -> tuple[bytes, bytes]:
        """The body bytes in `data`, and what is behind the end of the body.

        Raises `Rejected` for a malformed chunk. What is behind a chunked body is dropped: it is the last.
        """
        mine, behind = (data, b"") if self._left == CHUNKED else (data[: self._left], data[self._left :])
        events = self._events
        try:
            self._llhttp.feed_data(mine)
        except httptools.HttpParserCallbackError as error:
            raise _raised_in_callback(error) from None
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not events.message_ended:  # else it choked on what came behind
                raise malformed("A chunk of the body is malformed.") from None
        if self._left != CHUNKED:
            self._left -= len(mine)
        self.ended = events.message_ended
        body = b"".join(events.pieces)
        events.pieces.clear()
        return body, behind


def _raised_in_callback(error: httptools.HttpParserCallbackError) -> BaseException:
    """The exception of a callback. Without memory `_Events` raises; that is not the client's mistake."""
    return error.__context__ or error
