"""The server's own answers: they say what is wrong with the bytes of a request.

Over HTTP/1.1 the connection closes after each of them; over HTTP/2 the stream ends. How a rejection looks is
not decided here: the application hands the server a `Render`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a request is not served. `reason` is one stable word; `title` and `detail` are for people."""

    status: int
    reason: str
    title: str
    detail: str
    headers: tuple[tuple[str, str], ...] = ()


class Rejected(Exception):
    """The request gets this answer and does not reach the app."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.reason)
        self.rejection = rejection


# Header fields, without length and connection, and body of the answer.
Render = Callable[[Rejection], tuple[list[tuple[str, str]], bytes]]


def as_text(rejection: Rejection) -> tuple[list[tuple[str, str]], bytes]:
    """A `Render` for people."""
    fields = [("content-type", "text/plain; charset=utf-8"), *rejection.headers]
    return fields, f"{rejection.title}. {rejection.detail}\n".encode()


def malformed(detail: str) -> Rejected:
    return Rejected(Rejection(400, "malformed_request", "The request is malformed", detail))


def target_too_long(max_bytes: int) -> Rejected:
    detail = f"The request target is longer than {max_bytes} bytes."
    return Rejected(Rejection(414, "target_too_long", "The request target is too long", detail))


def head_too_large(detail: str) -> Rejected:
    return Rejected(Rejection(431, "head_too_large", "The request head is too large", detail))


SLOW_HEAD: Final = Rejection(
    408, "slow_request", "The request came too slowly", "The rest of its head did not come in time."
)
EXPECTATION_FAILED: Final = Rejection(
    417, "expectation_failed", "Expectation failed", "The only expectation known here is 100-continue."
)
METHOD_NOT_IMPLEMENTED: Final = Rejection(
    501, "method_not_implemented", "The method is not known", "Nothing here knows this request method."
)
CODING_NOT_IMPLEMENTED: Final = Rejection(
    501,
    "transfer_coding_not_implemented",
    "The transfer coding is not known",
    "The only transfer coding known here is chunked.",
)
VERSION_NOT_SUPPORTED: Final = Rejection(
    505, "version_not_supported", "The HTTP version is not supported", "Use HTTP/1.1, or HTTP/2 over TLS."
)
TOO_MANY_CONNECTIONS: Final = Rejection(
    503,
    "too_many_connections",
    "Too many connections",
    "Every connection that the server may hold is in use. Try again after the time in Retry-After.",
    headers=(("Retry-After", "1"),),
)
INTERNAL: Final = Rejection(
    500,
    "internal",
    "A bug in fanout",
    "The request failed through a fault of the server, which was logged.",
)
# TOO_MANY_CONNECTIONS over HTTP/2: empty SETTINGS, and a GOAWAY of ENHANCE_YOUR_CALM, by which no request has
# been read.
OVER_HTTP2: Final = bytes.fromhex("000000 04 00 00000000 000008 07 00 00000000 00000000 0000000b")
