"""The oracle: from what was asked and what the upstreams did, to the answers that are allowed.

A pure function over values, written from the guarantees and not from the code: it imports nothing of ours.
Whenever two things happen in the same instant, either may be seen first, and both answers are allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Literal

INSTANT_S: Final = 1e-6  # virtual time is exact but for the rounding of floating-point sums


@dataclass(frozen=True, slots=True)
class Span:
    """When something happens: mostly one instant, else at one from `earliest` to `latest`; `inf`: never."""

    earliest: float
    latest: float

    def may_be_by(self, moment: float) -> bool:
        return self.earliest <= moment + INSTANT_S

    def may_be_after(self, moment: float) -> bool:
        """At it counts as after it."""
        return self.latest >= moment - INSTANT_S

    def has(self, moment: float) -> bool:
        return self.earliest - INSTANT_S <= moment <= self.latest + INSTANT_S


def at(moment: float) -> Span:
    return Span(moment, moment)


NEVER: Final = at(inf)
CRASH: Final = "crash"  # instead of the word for a failure: a bug of ours
TOO_LATE: Final = "too_late"  # the same: too little time was left to send its request


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How one call ends if nobody stops it.

    error: the word for its failure, `None` for a success. time, tag: of the payload of a success.
    """

    when: Span
    error: str | None = None
    time: int = 0
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """One allowed answer, begun within `when`.

    calls: whose payloads it is made of, in order. errors: of a problem that tells how each call failed.
    """

    status: int
    reason: str
    when: Span
    calls: tuple[CallEnd, ...] = ()
    errors: tuple[str | None, ...] = ()


def allowed(
    ask: Literal["first", "all"],
    calls: Sequence[CallEnd],
    arrived_at: float,
    race_ends: Span,
    starts_by: Span,
) -> list[Due]:
    """The answers that a race may have.

    arrived_at: when the head of the request was read. race_ends: when its calls' time is over, which is
    the client's deadline less the reserve. starts_by: until when a call is started, which is earlier by what
    a call needs.
    """
    if starts_by.latest + INSTANT_S < arrived_at:
        return [_deadline(at(arrived_at))]
    sound = [call if call.error != CRASH else CallEnd(NEVER, CRASH) for call in calls]
    dues = _first(sound, race_ends) if ask == "first" else _all(sound, race_ends)
    for crash in (
        call.when for call in calls if call.error == CRASH and call.when.may_be_by(race_ends.latest)
    ):
        # G11: a bug outranks every answer, from when it happens.
        dues = [due for due in dues if due.when.may_be_by(crash.latest)]
        dues.append(Due(500, "internal", Span(crash.earliest, min(crash.latest, race_ends.latest))))
    if starts_by.earliest + INSTANT_S < arrived_at:
        dues.append(_deadline(Span(arrived_at, race_ends.latest)))
    return dues


def _first(calls: Sequence[CallEnd], race_ends: Span) -> list[Due]:
    """G4: the first success, whatever failed before it; when every call has failed, that at once."""
    successes = [call for call in calls if call.error is None]
    if not successes:
        return _ended(calls, race_ends)
    first_by = min(call.when.latest for call in successes)
    dues = [
        Due(200, "", Span(call.when.earliest, min(first_by, race_ends.latest)), (call,))
        for call in successes
        if call.when.may_be_by(first_by) and call.when.may_be_by(race_ends.latest)
    ]
    if at(first_by).may_be_after(race_ends.earliest):
        dues.append(_deadline(race_ends))
    return dues


def _all(calls: Sequence[CallEnd], race_ends: Span) -> list[Due]:
    """G5: every success in call order, once every call has ended."""
    return _ended(calls, race_ends)


def _ended(calls: Sequence[CallEnd], race_ends: Span) -> list[Due]:
    """What there is to say when the last call has ended; or the deadline, if that comes first.

    A call that could not be sent is one that the deadline has stopped. So nobody waits for the deadline then.
    """
    last = Span(max(c.when.earliest for c in calls), max(c.when.latest for c in calls))
    when = Span(last.earliest, min(last.latest, race_ends.latest))
    dues = []
    if last.may_be_by(race_ends.latest) and any(call.error == TOO_LATE for call in calls):
        dues.append(_deadline(when))
    elif last.may_be_by(race_ends.latest):
        successes = tuple(call for call in calls if call.error is None)
        if successes:
            dues.append(Due(200, "", when, successes))
        else:
            dues.append(Due(500, "no_success", when, errors=tuple(call.error for call in calls)))
    if last.may_be_after(race_ends.earliest):
        dues.append(_deadline(race_ends))
    return dues


def _deadline(when: Span) -> Due:
    return Due(500, "deadline", when)
