"""An answer that has come as a whole and says plainly how long it is: read by one expression.

Nearly every answer is one of these, and llhttp, which calls back for every piece of it, takes five times as
long.

Rule 1: what is read here is read as `Answer` would read it by llhttp, and its connection is kept. All else
        is left to that: another framing or version, an odd byte, a `Connection` that says more than
        `keep-alive`, and what comes in pieces or with something behind it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

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
    rb"(" + _HARMLESS + rb"(?i:content-length):[\t ]*+([0-9]{1,9}+)[\t ]*+\r\n" + _HARMLESS + rb")\r\n"
)
_FIELD: Final = re.compile(rb"([^:]++):[\t ]*+([^\r]*+)\r\n")
_BODYLESS: Final = frozenset((b"204", b"304"))


class WholeAnswer(NamedTuple):
    """fields: their lines, for `read_fields`."""

    status: int
    fields: bytes
    body: bytes


def read_whole(data: bytes) -> WholeAnswer | None:
    """The answer to a GET that `data` is; `None` if it is not, or not one of these."""
    match = _WHOLE.match(data)
    if match is None:
        return None
    status, fields, length = match.groups()
    body = data[match.end() :]
    if len(body) != int(length) or status in _BODYLESS:
        return None
    return WholeAnswer(int(status), fields, body)


def read_fields(fields: bytes) -> list[tuple[bytes, bytes]]:
    """The names, as they were sent, and the values of these header lines."""
    return [(name, value.rstrip(b"\t ")) for name, value in _FIELD.findall(fields)]
