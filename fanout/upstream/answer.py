"""One HTTP/1.1 answer, built from bytes as they arrive. No I/O.

Rule 1: a parser serves one exchange and is thrown away, so no state crosses to the next answer.
Rule 2: strict. What two programs could read in two ways is malformed, not guessed at.
Rule 3: a connection is reused only when the message itself said where it ends and nothing came after.
Rule 4: llhttp reads heads, and bodies with a length. It gets the bytes of one head at a time, because it does
        not report where in its input one ended: behind the head of a chunked body, `chunks` reads on.
Rule 5: most answers arrive as a whole, with a Content-Length or as one chunk. A regular expression parses
        those in a fifth of the time that llhttp takes, with the same result, and their connection is kept.
        llhttp parses all others: another framing or version, unusual bytes, a `Connection` field other than
        `keep-alive`, an answer in several pieces, and an answer with more bytes after it.

Two caps bound the memory of one answer to about `max_body_bytes`, twice when compressed, + 64 KiB of head.
"""

from __future__ import annotations

import re
from typing import Final

import httptools
import httpx

from fanout.upstream.chunks import Chunks
from fanout.upstream.decode import decode
from fanout.upstream.errors import BodyTooLarge
from fanout.upstream.messages import Headers

MAX_HEAD_BYTES: Final = 64 * 1024  # informational answers before the final one included

_PROTOCOL: Final = b"HTTP/"
_END_OF_HEAD: Final = b"\r\n\r\n"
_VERSIONS: Final = {"1.0": b"HTTP/1.0", "1.1": b"HTTP/1.1"}
_ABOUT_ENCODED_BODY: Final = frozenset({b"content-encoding", b"content-length"})
_NO_BODY: Final = frozenset({204, 304})

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
_RULED: Final = rb"content-length|content-encoding|transfer-encoding|connection|proxy-connection"
# Possessive throughout: no input makes it look at a byte more than a few times.
_HARMLESS: Final = (
    rb"(?:(?!(?i:" + _RULED + rb"):)" + _TOKEN + rb":" + _VALUE + rb"\r\n"
    rb"|(?i:connection:[\t ]*+keep-alive)[\t ]*+\r\n)*+"
)
_WHOLE: Final = re.compile(
    rb"HTTP/1\.1 ([2-5][0-9][0-9]) [\t\x20-\x7e]*+\r\n"
    rb"(" + _HARMLESS + rb"(?i:content-length:[\t ]*+([0-9]{1,9}+)[\t ]*+|transfer-encoding:[\t ]*+chunked)"
    rb"\r\n" + _HARMLESS + rb")\r\n"
)
_CHUNK_SIZE: Final = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,7}+)\r\n")
_END_OF_ONLY_CHUNK: Final = b"\r\n0\r\n\r\n"
_FIELD: Final = re.compile(rb"([^:]++):[\t ]*+([^\r]*+)\r\n")


def read_whole(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Status, fields and body of the answer to a GET that `data` is; `None` if it needs llhttp.

    fields: their lines, for `read_fields`.
    """
    match = _WHOLE.match(data)
    if match is None:
        return None
    status, fields, length = match.groups()
    rest = data[match.end() :]
    body = _only_chunk(rest) if length is None else rest if len(rest) == int(length) else None
    return None if body is None or int(status) in _NO_BODY else (int(status), fields, body)


def _only_chunk(chunked: bytes) -> bytes | None:
    """The data of a body that is one chunk without extensions and trailers; `None` if it is anything else."""
    size = _CHUNK_SIZE.match(chunked)
    if size is None:
        return None
    end = size.end() + int(size[1], 16)
    return chunked[size.end() : end] if chunked[end:] == _END_OF_ONLY_CHUNK else None


def read_fields(fields: bytes) -> Headers:
    """The names, as they were sent, and the values of these header lines."""
    return [(name, value.rstrip(b"\t ")) for name, value in _FIELD.findall(fields)]


class Answer:
    """Feed it what the wire delivers until `is_complete`; then `response()`.

    `status` and `keeps_connection` are meaningful once it is complete. The latter: the next exchange may
    use the wire.
    """

    def __init__(self, method: str, max_body_bytes: int) -> None:
        self.is_complete = False
        self.keeps_connection = False
        self.is_on_reused = False  # its connection was used before
        self._is_to_head = method == "HEAD"
        self._max_body_bytes = max_body_bytes
        # Chunk sizes, extensions and trailers are bytes as well. Twice: no honest framing outweighs its body.
        self._max_wire_bytes = MAX_HEAD_BYTES + 2 * max_body_bytes
        self._parser: httptools.HttpResponseParser | None = None  # until it turns out that one is needed
        self._chunks: Chunks | None = None  # reads the body, if that is chunked
        self.status = 0
        self._version = b"HTTP/1.1"
        self._headers: list[tuple[bytes, bytes]] = []
        self._fields = b""  # instead of `_headers`, when the answer came as a whole
        self._encoding = b""
        self._says_close = False
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._wire_bytes = 0
        self._head_bytes = 0  # of all heads
        self._begun_bytes = 0  # of the head that comes
        self._tail = b""  # its last bytes: its end may come in two pieces
        self._has_head = False
        self._ends_with_connection = False
        self._fault = ""

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
            self._wire_bytes += len(data)
            self._read(data)
        if self._fault:
            raise httpx.RemoteProtocolError(f"malformed answer: {self._fault}")

    def stop(self) -> None:
        """No more bytes will come: without the parser, which refers back to it, this is freed at once."""
        self._parser = None

    def content(self) -> bytes:
        """The body, decoded. Raises `httpx.DecodingError`, or `BodyTooLarge` when it is then over the cap."""
        body = b"".join(self._body)
        return decode(self._encoding, body, self._max_body_bytes) if body and self._encoding else body

    def response(self, request: httpx.Request) -> httpx.Response:
        """The complete answer as httpx's response, decoded and read: it holds nothing to be closed.

        Of a compressed answer, the headers that described the compressed bytes are left out. Raises as
        `content`.
        """
        content, headers = self.content(), self._headers or read_fields(self._fields)
        if self._body and self._encoding:
            headers = [header for header in headers if header[0].lower() not in _ABOUT_ENCODED_BODY]
        stream = httpx.ByteStream(content)
        extensions = {"http_version": self._version}
        response = httpx.Response(
            self.status, headers=list(headers), stream=stream, extensions=extensions, request=request
        )
        response.read()
        return response

    def _is_whole(self, data: bytes) -> bool:
        """Whether the first bytes are all of it, and were read without a parser."""
        if self._is_to_head or len(data) > min(MAX_HEAD_BYTES, self._max_body_bytes):
            return False
        whole = read_whole(data)
        if whole is None:
            return False
        self.status, self._fields, body = whole
        self._body.append(body)
        self._wire_bytes = len(data)
        self.is_complete = self.keeps_connection = True
        return True

    def _read(self, data: bytes) -> None:
        at = 0
        while not self._has_head and at < len(data) and not self._fault:
            at += self._read_head(data, at)
        if at < len(data) and not self.is_complete and not self._fault:
            if self._chunks is None:
                before = self._body_bytes
                self._parse(data[at:])
                if self._body_bytes - before != len(data) - at:
                    self.keeps_connection = False  # something follows, be it an empty line
            else:
                self._read_chunks(self._chunks, data[at:])
        elif at < len(data):
            self.keeps_connection = False  # what follows the answer is not read
        if self._body_bytes > self._max_body_bytes or self._wire_bytes > self._max_wire_bytes:
            raise BodyTooLarge(f"an answer with more than {self._max_body_bytes} bytes of body")

    def _read_head(self, data: bytes, at: int) -> int:
        """Read on in the head, final or informational, that comes at `at`. Returns how many bytes it took."""
        across = (self._tail + data[at : at + 3]).find(_END_OF_HEAD)  # the last piece and this one
        end = at + across - len(self._tail) if across >= 0 else data.find(_END_OF_HEAD, at)
        has_end = across >= 0 or end >= 0
        head = data[at : end + len(_END_OF_HEAD)] if has_end else data[at:]
        self._tail = b"" if has_end else (self._tail + head)[-3:]
        self._head_bytes += len(head)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fault = f"a head of more than {MAX_HEAD_BYTES} bytes"
            return len(head)
        # llhttp passes over line ends before a head, bare ones too, and takes RTSP and ICE for HTTP.
        expected = _PROTOCOL[self._begun_bytes :]
        if head[: len(expected)] != expected[: len(head)]:
            self._fault = "a head that does not begin with HTTP/"
            return len(head)
        self._begun_bytes = 0 if has_end else self._begun_bytes + len(head)
        self._parse(head)
        if self._has_head and not has_end and not self._fault:
            self._fault = "a head that does not end with an empty line"
        if has_end and not self._has_head:  # an interim answer has no body, whatever it says; RFC 9112 6.3
            self._parser = None
        return len(head)

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            # No callback below raises: this is a bug, or Ctrl-C.
            raise error.__context__ or error from None
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not (self.is_complete or self._fault):  # else what follows is malformed, and nobody reads that
                raise httpx.RemoteProtocolError(f"malformed answer: {error}") from error

    def _read_chunks(self, chunks: Chunks, data: bytes) -> None:
        try:
            self.on_body(chunks.feed(data))
        except ValueError as error:
            raise httpx.RemoteProtocolError(f"malformed answer: {error}") from error
        self.is_complete = chunks.is_complete
        if chunks.has_more:
            self.keeps_connection = False

    def _end_of_wire(self) -> None:
        if not self._ends_with_connection:
            when = "in the middle of its answer" if self.has_begun else "without an answer"
            raise httpx.RemoteProtocolError(f"the upstream closed the connection {when}")
        self.is_complete = True

    # Called by httptools, inside feed_data.

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else a trailer, or part of what follows the answer: neither is read
            self._headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self.is_complete or parser is None:
            return
        status = parser.get_status_code()
        self._version = _VERSIONS.get(parser.get_http_version(), b"")
        if status < 100 or not self._version:
            self._fault = "an unknown HTTP version or status"
            return
        if status < 200:
            self._headers.clear()
            if status == httpx.codes.SWITCHING_PROTOCOLS:
                self._fault = "it switches protocols, which was not asked for"
            return
        self.status = status
        self._has_head = True
        is_framed = self._read_headers()
        if self._is_to_head or status in _NO_BODY:
            # Never reused: should the upstream send a body all the same, nothing says where it ends.
            self.is_complete = True
        else:
            self._ends_with_connection = not is_framed
            self.keeps_connection = is_framed and parser.should_keep_alive() and not self._says_close

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
            if name == b"connection":
                # In HTTP/1.0 llhttp lets keep-alive win over close; RFC 9112 §9.3 has it the other way round.
                options = [option.strip(b" \t") for option in value.lower().split(b",")]
                self._says_close = self._says_close or b"close" in options
            elif name == b"content-encoding":
                encodings.append(value)
            elif name == b"content-length":
                is_framed = True
            elif name == b"transfer-encoding":
                is_framed = True
                if value.lower() != b"chunked" or self._chunks is not None:
                    self._fault = f"transfer-encoding {value!r}, chunked alone and once is supported"
                self._chunks = Chunks()
        if encodings:
            self._encoding = b",".join(encodings).strip().lower()
        return is_framed
