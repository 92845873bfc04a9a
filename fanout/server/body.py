"""Where a message ends and what its body says: llhttp's part (through httptools), one parser a connection.

Rule: llhttp gets the bytes of one message at a time, because it does not tell where in its input one ended.
      The end of the head is searched for and a length is counted; a chunked body is the last message.
"""

from __future__ import annotations

import httptools

from fanout.server import rejections
from fanout.server.head import CHUNKED
from fanout.server.rejections import Rejected, malformed


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


class Body:
    """The second opinion on every head, and the decoder of the body behind it."""

    __slots__ = ("_events", "_left", "_llhttp", "ended")

    def __init__(self) -> None:
        self._events = _Events()
        self._llhttp = httptools.HttpRequestParser(self._events)
        self._left = 0
        self.ended = True

    def begin(self, head: bytes, body_length: int) -> None:
        """Start on a message with its head. Raises `Rejected` if llhttp reads it differently."""
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

    def decode(self, data: bytes) -> tuple[bytes, bytes]:
        """The body bytes in `data`, and what is behind the end of the body.

        Raises `Rejected` for a malformed chunk. What is behind a chunked body is dropped: it is the last.
        """
        mine, behind = (data, b"") if self._left == CHUNKED else (data[: self._left], data[self._left :])
        events = self._events
        try:
            self._llhttp.feed_data(mine)
        except httptools.HttpParserCallbackError as error:
            raise _raised_in_callback(error) from None
        except httptools.HttpParserError:
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
