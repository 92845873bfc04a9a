"""The driver's own answers: they say what is wrong with the bytes of a request.

Over HTTP/1.1 the connection closes after each of them; over HTTP/2 the stream ends.

Their `request_id` is `unread`: the request was refused before it had one, so there is nothing to look up.
"""

from __future__ import annotations

from typing import Final

from fanout.web import problems
from fanout.web.problems import Problem

_UNREAD: Final = "unread"


class Refused(Exception):
    """The request gets this answer and does not reach the app."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


def malformed(detail: str) -> Refused:
    return Refused(Problem(400, "malformed_request", "The request is malformed", detail))


def target_too_long(max_bytes: int) -> Refused:
    detail = f"The request target is longer than {max_bytes} bytes."
    return Refused(Problem(414, "target_too_long", "The request target is too long", detail))


def head_too_large(detail: str) -> Refused:
    return Refused(Problem(431, "head_too_large", "The request head is too large", detail))


SLOW_HEAD: Final = Problem(
    408, "slow_request", "The request came too slowly", "The rest of its head did not come in time."
)
EXPECTATION_FAILED: Final = Problem(
    417, "expectation_failed", "Expectation failed", "The only expectation known here is 100-continue."
)
METHOD_NOT_IMPLEMENTED: Final = Problem(
    501, "method_not_implemented", "The method is not known", "Nothing here knows this request method."
)
CODING_NOT_IMPLEMENTED: Final = Problem(
    501,
    "transfer_coding_not_implemented",
    "The transfer coding is not known",
    "The only transfer coding known here is chunked.",
)
VERSION_NOT_SUPPORTED: Final = Problem(
    505, "version_not_supported", "The HTTP version is not supported", "Use HTTP/1.1, or HTTP/2 over TLS."
)
TOO_MANY_CONNECTIONS: Final = Problem(
    503,
    "too_many_connections",
    "Too many connections",
    "Every connection that the server may hold is in use. Try again after the time in Retry-After.",
    headers=(("Retry-After", "1"),),
)
# The same over HTTP/2: empty SETTINGS, and a GOAWAY of ENHANCE_YOUR_CALM, by which no request has been read.
OVER_HTTP2: Final = bytes.fromhex("000000 04 00 00000000 000008 07 00 00000000 00000000 0000000b")


def body_of(problem: Problem) -> bytes:
    return problem.body(_UNREAD)


def fields_of(problem: Problem) -> list[tuple[bytes, bytes]]:
    """Its header fields, lower-case, without length and connection."""
    fields = [
        ("content-type", problems.CONTENT_TYPE),
        ("cache-control", "no-store"),
        ("x-request-id", _UNREAD),
        *problem.headers,
    ]
    return [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in fields]
