"""One connection's incoming bytes, as complete answers (parsed by httptools).

Rule 1: an interim answer (1xx) is not an answer.
Rule 2: an answer without a length is never complete: its end cannot be told from a cut.
"""

from __future__ import annotations

import httptools


class AnswerReader:
    """Collects the first complete answer since `clear()`; `extra` tells whether another one began after it.

    `status`, `body` and `keep_alive` mean nothing while `complete` is false.
    """

    __slots__ = ("_chunks", "_parser", "body", "complete", "extra", "keep_alive", "status")

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.clear()

    def clear(self) -> None:
        """Get ready for the answer to the next request."""
        self._chunks: list[bytes] = []
        self.complete = False
        self.extra = False
        self.status = 0
        self.body = b""
        self.keep_alive = False

    def feed(self, data: bytes) -> None:
        """Take what was received. Raises httptools.HttpParserError where it stops being HTTP."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """The start of a message (called by the parser)."""
        self.extra = self.complete

    def on_body(self, chunk: bytes) -> None:
        """A part of a body (called by the parser)."""
        self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        """The end of a message (called by the parser)."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        if not self.complete:
            self.complete = True
            self.status = status
            self.body = b"".join(self._chunks)
            self.keep_alive = self._parser.should_keep_alive()
