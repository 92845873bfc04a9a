"""What became of one request, and the rules by which a complete answer is judged.

Rule 1: time goes first. A complete answer of any status that came after `timeout` is late.
Rule 2: a 200 is useful only when its body is what the API guarantees.
Rule 3: what the client did itself (left, could not connect, was cut) is never the server's broken guarantee.
"""

from __future__ import annotations

from enum import StrEnum

from .endpoint import Endpoint, decoded


class Outcome(StrEnum):
    """Every scheduled request ends as exactly one of these."""

    USEFUL = "useful"  # 200, the promised body, whole and in time
    REFUSED = "refused"  # 503 in time
    DEADLINE = "deadline"  # 500 in time whose problem says `deadline`
    NO_SUCCESS = "no_success"  # 500 in time whose problem says `no_success`
    OTHER = "other"  # any other status, in time
    LATE = "late"  # a complete answer, after `timeout`
    MISSING = "missing"  # no complete answer, and the client stopped waiting
    BROKEN = "broken"  # the connection closed or was reset before the answer was complete
    MALFORMED = "malformed"  # what came is not HTTP
    WRONG_BODY = "wrong_body"  # 200 in time, but not the promised body
    LEFT = "left"  # the client hung up on purpose
    CROSSED = "crossed"  # the server closed an idle connection while the request was on its way: never read
    NOT_CONNECTED = "not_connected"  # no connection could be made
    ABANDONED = "abandoned"  # the run was cut by a second Ctrl-C while the request was in flight


BROKEN_GUARANTEES = (Outcome.LATE, Outcome.MISSING, Outcome.BROKEN, Outcome.MALFORMED, Outcome.WRONG_BODY)
ON_TIME = (
    Outcome.USEFUL,
    Outcome.REFUSED,
    Outcome.DEADLINE,
    Outcome.NO_SUCCESS,
    Outcome.OTHER,
    Outcome.WRONG_BODY,
)
ANSWERED = (*ON_TIME, Outcome.LATE)
OWED = (*ANSWERED, Outcome.MISSING, Outcome.BROKEN, Outcome.MALFORMED)
"""The requests that the server owed an answer: the on-time share is counted over these."""


def judged(
    status: int, body: bytes, endpoint: Endpoint, *, took_ms: float, limit_ms: float
) -> tuple[Outcome, str]:
    """The outcome of a complete answer, and the problem's `reason` ("" when it has none)."""
    if status == 200:
        if took_ms > limit_ms:
            return Outcome.LATE, ""
        return (Outcome.USEFUL if endpoint.accepts(decoded(body)) else Outcome.WRONG_BODY), ""
    problem = decoded(body)
    reason = problem.get("reason") if isinstance(problem, dict) else None
    reason = reason if isinstance(reason, str) else ""
    if took_ms > limit_ms:
        return Outcome.LATE, reason
    if status == 503:
        return Outcome.REFUSED, reason
    if status == 500 and reason in (Outcome.DEADLINE, Outcome.NO_SUCCESS):
        return Outcome(reason), reason
    return Outcome.OTHER, reason
