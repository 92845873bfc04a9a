"""The bytes of an answer: its head, and how the end of its body is marked."""

from __future__ import annotations

import http
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

_RENAMED: Final = {  # by RFC 9110; Python has these names since 3.13
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
_STATUS_LINES: Final = {
    int(status): b"HTTP/1.1 %d %b\r\n" % (status, _RENAMED.get(status, status.phrase).encode("ascii"))
    for status in http.HTTPStatus
}
LAST_CHUNK: Final = b"0\r\n\r\n"


def utc_now() -> datetime:
    return datetime.now(UTC)


class DateField:
    """The Date field, formatted once a second of Trio's clock: the wall clock is not read a request."""

    def __init__(self, wall_clock: Callable[[], datetime] = utc_now) -> None:
        self._wall_clock = wall_clock
        self._second = -1
        self._line = b""

    def line(self, now: float) -> bytes:
        """now: Trio's clock, in seconds."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._line = b"date: %b\r\n" % format_datetime(self._wall_clock(), usegmt=True).encode("ascii")
        return self._line


def head_bytes(status: int, fields: Iterable[tuple[bytes, bytes]], *own: bytes) -> bytes:
    """The head of an answer; `own` are whole lines. Raises `ValueError` for a field with a CR or LF."""
    lines = [b"%b: %b\r\n" % field for field in fields]
    head = b"".join((_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, *lines, *own, b"\r\n"))
    ends = len(lines) + len(own) + 2
    if head.count(b"\n") != ends or head.count(b"\r") != ends:
        raise ValueError("a response field contains a CR or LF")
    return head


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_answer(status: int, fields: Iterable[tuple[bytes, bytes]], body: bytes, date_line: bytes) -> bytes:
    """A complete answer by the server itself, after which the connection closes."""
    length = b"content-length: %d\r\n" % len(body)
    return head_bytes(status, fields, length, date_line, b"connection: close\r\n") + body
