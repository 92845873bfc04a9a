"""The head of an answer, checked, and how the end of its body is marked.

Rule: what an app must not send is its bug. It is raised before any byte of the answer is sent.
"""

from __future__ import annotations

import http
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final

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
Fields = list[tuple[bytes, bytes]]
LAST_CHUNK: Final = b"0\r\n\r\n"
NO_CONTENT: Final = 204
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]++")  # a token, in lower case as ASGI demands
# Names that `read_start` has checked: to look one up is a tenth of a check. An app may invent any number.
CHECKED_NAMES: Final[set[bytes]] = set()
MAX_CHECKED_NAMES: Final = 500
_MAX_KEPT_NAME_BYTES: Final = 64
_OF_THE_SERVER: Final = frozenset((b"connection", b"content-length", b"date", b"transfer-encoding"))


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


def read_start(message: Any) -> tuple[Fields, int | None, bool, bool]:
    """Check the message of an app that has the status and the fields of its answer. Raises `ValueError`.

    Returns the fields to be sent, the length of the body if the app says it, whether the fields have a Date,
    and whether the app wants the connection to end. How a body is framed the server says itself.
    """
    status = message["status"]
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is not the status of a final answer (RFC 9110 15)")
    fields: Fields = []
    length: int | None = None
    has_date = closes = False
    for field in message.get("headers", ()):
        name, value = field
        if name not in CHECKED_NAMES:
            if name not in _OF_THE_SERVER:
                _check_name(name)
            elif name == b"content-length":
                if length is not None or not value.isdigit():
                    raise ValueError("the answer needs one content-length, in digits, or none")
                length = int(value)
                if status == NO_CONTENT:
                    continue
            elif name == b"date":
                has_date = True
            else:
                closes = closes or (name == b"connection" and value.strip().lower() == b"close")
                continue
        fields.append(field)
    return fields, length, has_date, closes


def check_values(fields: Fields) -> None:
    """Raises `ValueError` for a value with a line break or a NUL."""
    values = b"".join([value for _, value in fields])
    if b"\n" in values or b"\r" in values or b"\0" in values:
        raise ValueError("a response field contains a CR, LF or NUL")


def _check_name(name: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a response field, in lower case")
    if len(CHECKED_NAMES) < MAX_CHECKED_NAMES and len(name) <= _MAX_KEPT_NAME_BYTES:
        CHECKED_NAMES.add(name)


def head_bytes(status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of an answer. Raises `ValueError` for a field with a CR, LF or NUL."""
    lines = [b"%b: %b\r\n" % field for field in fields]
    head = b"".join((_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, *lines, b"\r\n"))
    ends = len(lines) + 2
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise ValueError("a response field contains a CR, LF or NUL")
    return head


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
