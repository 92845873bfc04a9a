"""What the simulator does on the wire, as values: a script is a few steps, and a fault writes one.

Rule 1: a script knows no socket and no clock; `player.py` plays it.
Rule 2: a script without an ending leaves the connection open for the next request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes in one go."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Drip:
    """Write byte by byte, evenly spread; the last byte leaves `over_ms` after the step began."""

    data: bytes
    over_ms: int


@dataclass(frozen=True, slots=True)
class Flood:
    """Write these bytes again and again, `MAX_FLOOD_BYTES` in all, then fall silent like `Hang`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete HTTP response, right or wrong, has been written: the call has ended."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    ms: int


@dataclass(frozen=True, slots=True)
class Hang:
    """Be silent until the client leaves."""


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection as one should: close_notify under TLS, then FIN."""


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection by FIN alone: under TLS the close_notify is missing."""


@dataclass(frozen=True, slots=True)
class Reset:
    """End the connection by RST."""


Ending = Close | Cut | Reset
Step = Send | Drip | Flood | Answered | Pause | Hang | Ending


@dataclass(frozen=True, slots=True)
class Script:
    """The steps of one call after its delay. `status` is what the first bytes say, if they say one."""

    status: int | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a script is written for: one call of one client.

    delay_ms: what the answer says in `time`. status: for the `status` fault. drip_ms: for `drip`.
    closing: the client wants the connection closed after the answer.
    """

    call: int
    delay_ms: int
    status: int
    drip_ms: int
    tag: str | None = None
    closing: bool = False

    @property
    def body(self) -> bytes:
        """The right payload: `{"time": 123}`, and the tag if the call has one."""
        if self.tag is None:
            return b'{"time": %d}' % self.delay_ms
        return json.dumps({"time": self.delay_ms, "tag": self.tag}).encode()

    @property
    def fields(self) -> tuple[str, ...]:
        """The header fields of every answer, without those that frame its body."""
        fields = ("Content-Type: application/json", f"X-Call-Id: {self.call}")
        return (*fields, "Connection: close") if self.closing else fields

    def response(self, body: bytes, *fields: str, status: int = 200) -> bytes:
        """A well-framed response."""
        return response(status, body, *self.fields, *fields)


def head(status: int, *fields: str, version: str = "1.1") -> bytes:
    """A response head, with the empty line that ends it."""
    return "\r\n".join(
        (f"HTTP/{version} {status} {_REASONS.get(status, 'Unnamed')}", *fields, "", "")
    ).encode()


def response(status: int, body: bytes, *fields: str) -> bytes:
    """A head and a body of known length. 204 and 304 may have neither body nor length (RFC 9110)."""
    if status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        return head(status, *fields)
    return head(status, *fields, f"Content-Length: {len(body)}") + body


_REASONS = {int(status): status.phrase for status in HTTPStatus}
