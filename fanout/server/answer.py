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
    """The Date field, formatted once per second of Trio's clock: requests do not read the wall clock."""

    def __init__(self, wall_clock: Callable[[], datetime] = utc_now) -> None:
        self._wall_clock = wall_clock
        self._second = -1
        self._value = b""

    def value(self, now: float) -> bytes:
        second = int(now)
        if second != self._second:
            self._second = second
            self._value = format_datetime(self._wall_clock(), usegmt=True).encode("ascii")
        return self._value


def head_bytes(status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of an answer. Raises `ValueError` for a field with a CR or LF."""
    lines = [b"%b: %b\r\n" % field for field in fields]
    head = b"".join((_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, *lines, b"\r\n"))
    ends = len(lines) + 2
    if head.count(b"\n") != ends or head.count(b"\r") != ends:
        raise ValueError("a response field contains a CR or LF")
    return head


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
