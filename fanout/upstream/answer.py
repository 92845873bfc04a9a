"""One HTTP/1.1 answer, built from bytes as they arrive. No I/O.

Rule 1: a parser serves one exchange and is thrown away, so no state crosses to the next answer. A plain
        answer that comes as a whole needs none (`whole_answer`).
Rule 2: strict. What two programs could read in two ways is malformed, not guessed at.
Rule 3: a connection is reused only when the message itself said where it ends and nothing came after.

Two caps bound the memory of one answer to about `max_body_bytes`, twice when compressed, + 64 KiB of head.
Not told apart: empty lines between two messages, which can carry no answer, and the prefixes
`RTSP/` and `ICE/`, which llhttp accepts as HTTP/1.0.
"""

from __future__ import annotations

from typing import Final

import httptools
import httpx

from fanout.upstream.decode import BodyTooLarge, decode
from fanout.upstream.response import CompleteResponse
from fanout.upstream.whole_answer import WholeAnswer, read_fields, read_whole

MAX_HEAD_BYTES: Final = 64 * 1024  # informational answers before the final one included

_VERSIONS: Final = frozenset({"1.0", "1.1"})
_ABOUT_BODY: Final = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
_ABOUT_ENCODED_BODY: Final = frozenset({b"content-encoding", b"content-length"})
_NO_BODY: Final = frozenset({204, 304})


class Answer:
    """Feed it what the wire delivers until `is_complete`; then `response()`.

    `status` and `keeps_connection` are meaningful once it is complete. The latter: the next exchange may
    use the wire.
    """

    __slots__ = (
        "_body",
        "_body_bytes",
        "_encoding",
        "_ends_with_connection",
        "_fault",
        "_has_head",
        "_headers",
        "_is_to_head",
        "_max_body_bytes",
        "_max_wire_bytes",
        "_parser",
        "_whole",
        "_wire_bytes",
        "is_complete",
        "is_on_reused",
        "keeps_connection",
        "status",
    )

    def __init__(self, method: str, max_body_bytes: int) -> None:
        self.is_complete = False
        self.keeps_connection = False
        self.is_on_reused = False  # its connection was used before
        self._is_to_head = method == "HEAD"
        self._max_body_bytes = max_body_bytes
        # Chunk sizes, extensions and trailers are bytes as well. Twice: no honest framing outweighs its body.
        self._max_wire_bytes = MAX_HEAD_BYTES + 2 * max_body_bytes
        self._parser: httptools.HttpResponseParser | None = None  # until it turns out that one is needed
        self.status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._encoding = b""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._wire_bytes = 0
        self._has_head = False
        self._ends_with_connection = False
        self._fault = ""
        self._whole: WholeAnswer | None = None

    @property
    def has_begun(self) -> bool:
        """At least one byte has arrived."""
        return self._wire_bytes > 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes from the wire; `b""` says that the peer has closed it.

        Raises `httpx.RemoteProtocolError` or `BodyTooLarge`; the answer is worth nothing then. Must
        not be called again once complete.
        """
        if not data:
            self._end_of_wire()
        elif self.has_begun or not self._is_whole(data):
            parser = self._parser
            if parser is None:
                parser = self._parser = httptools.HttpResponseParser(self)
            self._wire_bytes += len(data)
            try:
                parser.feed_data(data)
            except httptools.HttpParserCallbackError as error:
                # No callback below raises: this is a bug, or Ctrl-C.
                raise error.__context__ or error from None
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                if not self.is_complete:
                    raise httpx.RemoteProtocolError(f"malformed answer: {error}") from error
                self.keeps_connection = False  # only what follows the answer is malformed
            self._check_caps()
        if self._fault:
            raise httpx.RemoteProtocolError(f"malformed answer: {self._fault}")

    def stop(self) -> None:
        """No more bytes will come: without the parser, which refers back to it, this is freed at once."""
        self._parser = None

    def response(self, request: httpx.Request) -> httpx.Response:
        """The complete answer as httpx's response, decoded and read: it holds nothing to be closed.

        Of a compressed answer, the headers that described the compressed bytes are left out. Raises
        `httpx.DecodingError`, or `BodyTooLarge` when the decoded body is over the cap.
        """
        whole = self._whole
        if whole is not None:
            return CompleteResponse(whole.status, lambda: read_fields(whole.fields), whole.body, request)
        body, headers = b"".join(self._body), self._headers
        if body and self._encoding:
            body = decode(self._encoding, body, self._max_body_bytes)
            headers = [header for header in headers if header[0].lower() not in _ABOUT_ENCODED_BODY]
        return CompleteResponse(self.status, lambda: headers, body, request)

    def _is_whole(self, data: bytes) -> bool:
        """Whether the first bytes are all of it, and were read the short way."""
        if self._is_to_head or len(data) > min(MAX_HEAD_BYTES, self._max_body_bytes):
            return False
        self._whole = whole = read_whole(data)
        if whole is None:
            return False
        self._wire_bytes = len(data)
        self.status = whole.status
        self.is_complete = self.keeps_connection = True
        return True

    def _end_of_wire(self) -> None:
        if not self._ends_with_connection:
            when = "in the middle of its answer" if self.has_begun else "without an answer"
            raise httpx.RemoteProtocolError(f"the upstream closed the connection {when}")
        self.is_complete = True

    def _check_caps(self) -> None:
        if not self._has_head and self._wire_bytes > MAX_HEAD_BYTES:
            self._fault = f"a head of more than {MAX_HEAD_BYTES} bytes"
        elif self._body_bytes > self._max_body_bytes or self._wire_bytes > self._max_wire_bytes:
            raise BodyTooLarge(f"an answer with more than {self._max_body_bytes} bytes of body")

    # Called by httptools, inside feed_data.

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.keeps_connection = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else a trailer, or part of what follows the answer: neither is read
            self._headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self.is_complete or parser is None:
            return
        status = parser.get_status_code()
        if 100 <= status < 200:
            self._headers.clear()
            if status == httpx.codes.SWITCHING_PROTOCOLS:
                self._fault = "it switches protocols, which was not asked for"
            return
        self.status = status
        self._has_head = True
        is_framed = self._read_headers()
        if status < 100 or parser.get_http_version() not in _VERSIONS:
            self._fault = "an unknown HTTP version or status"
        elif self._is_to_head or status in _NO_BODY:
            # Never reused: should the upstream send a body all the same, nothing says where it ends.
            self.is_complete = True
        else:
            self._ends_with_connection = not is_framed
            self.keeps_connection = is_framed and parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if self.is_complete:
            return
        self._body_bytes += len(data)
        if self._body_bytes <= self._max_body_bytes:
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self._has_head:
            self.is_complete = True

    def _read_headers(self) -> bool:
        """Whether the headers say where the body ends."""
        is_framed = False
        encodings = []
        for name, value in self._headers:
            name = name.lower()
            if name not in _ABOUT_BODY:
                continue
            if name == b"content-encoding":
                encodings.append(value)
                continue
            is_framed = True
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                self._fault = f"transfer-encoding {value!r} is not supported"
        if encodings:
            self._encoding = b",".join(encodings).strip().lower()
        return is_framed
