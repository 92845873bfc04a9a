"""Problem documents (RFC 9457): what clients get when there is no success.

No stack traces, no upstream URLs, no secrets. `reason` is stable; `title` and `detail` are for people.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from fanout.server.rejections import Rejection

CONTENT_TYPE: Final = "application/problem+json"
_UNREAD: Final = "unread"


@dataclass(frozen=True, slots=True)
class Problem(Rejection):
    """One problem. `members` are added to the document as they are."""

    members: dict[str, Any] = field(default_factory=dict)

    def body(self, request_id: str) -> bytes:
        document = {
            "type": f"urn:fanout:problem:{self.reason}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
            "request_id": request_id,
            **self.members,
        }
        return json.dumps(document).encode("ascii")

    def answer(self, request_id: str) -> tuple[list[tuple[str, str]], bytes]:
        """The header fields, without the length, and the body of the answer to a request."""
        fields = [
            ("content-type", CONTENT_TYPE),
            ("cache-control", "no-store"),
            ("x-request-id", request_id),
            *self.headers,
        ]
        return fields, self.body(request_id)


def render(rejection: Rejection) -> tuple[list[tuple[str, str]], bytes]:
    """What the server itself says, as a problem document: a `Render`.

    The request was rejected before it had an id, so there is nothing to look up.
    """
    problem = Problem(
        rejection.status, rejection.reason, rejection.title, rejection.detail, rejection.headers
    )
    return problem.answer(_UNREAD)


class ProblemError(Exception):
    """Raised in a handler: the client's mistake, answered with the problem it carries."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


def invalid_timeout(detail: str) -> Problem:
    return Problem(400, "invalid_timeout", "The timeout is not valid", detail)


def not_found(path: str) -> Problem:
    detail = f"There is nothing at {path}. Try /api/first, /api/all, /docs or /openapi.json."
    return Problem(404, "not_found", "There is nothing here", detail)


def method_not_allowed(method: str, allowed: str) -> Problem:
    detail = f"{method} is not possible here. Allowed: {allowed}."
    return Problem(405, "method_not_allowed", "Not this method", detail, headers=(("Allow", allowed),))


UNEXPECTED_BODY: Final = Problem(
    413,
    "unexpected_body",
    "A body is not wanted",
    "Nothing here takes a request body. Send the request without one.",
    headers=(("Connection", "close"),),
)
OVERLOADED: Final = Problem(
    503,
    "overloaded",
    "Too many requests in flight",
    "The request was refused at once instead of being queued. Try again after the time in Retry-After.",
    headers=(("Retry-After", "1"),),
)
DRAINING: Final = Problem(
    503,
    "draining",
    "The server is shutting down",
    "It finishes what it has admitted and takes nothing new. Try again: another instance will answer.",
    headers=(("Retry-After", "1"), ("Connection", "close")),
)
INTERNAL: Final = Problem(
    500,
    "internal",
    "A bug in fanout",
    "The request failed through a fault of the server. It was logged under the request id.",
)
