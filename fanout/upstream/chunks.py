"""A chunked body, from bytes as they arrive (RFC 9112 §7.1). No I/O.

llhttp, which reads the rest of an answer, refuses whitespace in a chunk extension. A recipient must take it,
so these lines have a grammar here.

Rule 1: a line is valid or malformed. A guess would find the end of the body elsewhere.
Rule 2: a body has at most `MAX_LINES` of them. A body of one-byte chunks would stop the event loop for 9 ms.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from fanout.upstream.errors import BodyTooLarge

MAX_LINE_BYTES: Final = 4096  # of a chunk's size with its extensions, or of a trailer: both are thrown away
MAX_LINES: Final = 2048  # of about 0.4 µs each; a chunk has two: before its data, and behind it

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED: Final = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"'
_SPACE: Final = rb"[\t ]*+"
_EXTENSION: Final = (
    rb"(?:" + _SPACE + rb";" + _SPACE + _TOKEN
    + rb"(?:" + _SPACE + rb"=" + _SPACE + rb"(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?+)*+"
)  # fmt: skip
_HEX: Final = b"0123456789ABCDEFabcdef"


class _Line(NamedTuple):
    """What may come next. first: the bytes that it begins with. max_bytes: of it while it is incomplete."""

    pattern: re.Pattern[bytes]
    first: bytes
    max_bytes: int


_SIZE: Final = _Line(re.compile(rb"([0-9A-Fa-f]{1,16}+)" + _EXTENSION + rb"\r\n"), _HEX, MAX_LINE_BYTES)
_END_OF_DATA: Final = _Line(re.compile(rb"\r\n"), b"\r", 1)
_TRAILER: Final = _Line(
    re.compile(rb"(" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+)?+\r\n"), bytes(range(256)), MAX_LINE_BYTES
)


class Chunks:
    """Feed it what comes behind the head until `is_complete`. has_more: bytes came behind the last chunk."""

    __slots__ = ("_left", "_lines", "_next", "_unread", "has_more", "is_complete")

    def __init__(self) -> None:
        self.is_complete = False
        self.has_more = False
        self._next = _SIZE
        self._left = 0  # bytes of a chunk's data that have yet to come
        self._lines = 0
        self._unread = b""  # the beginning of a line

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in `data`. Raises `ValueError` if it is malformed, and `BodyTooLarge`."""
        data = self._unread + data
        at = 0
        body: list[bytes] = []
        while at < len(data) and not self.is_complete:
            if self._left:
                body.append(data[at : at + self._left])
                at += len(body[-1])
                self._left -= len(body[-1])
                continue
            line = self._next
            match = line.pattern.match(data, at)
            if match is None:
                rest = data[at : at + line.max_bytes + 1]
                is_whole = b"\n" in rest or b"\r" in rest[:-1]
                if rest[0] not in line.first or is_whole or len(rest) > line.max_bytes:
                    raise ValueError("a chunk of the body is malformed")
                break
            at = match.end()
            self._lines += 1
            if self._lines > MAX_LINES:
                raise BodyTooLarge(f"a body with more than {MAX_LINES} lines around its data")
            if line is _SIZE:
                self._left = int(match[1], 16)
                self._next = _END_OF_DATA if self._left else _TRAILER
            elif line is _END_OF_DATA:
                self._next = _SIZE
            else:
                self.is_complete = match[1] is None
        self._unread = data[at:]
        self.has_more = self.is_complete and bool(self._unread)
        return b"".join(body)
