"""One upstream call: was it made at once, stopped at once, and its connection closed with it? (G3, G6, G7)

And was there time for it, and was its upstream sent how much? (G2)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fanout.testing.world.dues import budget_ends, call_starts_by
from fanout.testing.world.ended import Ended
from fanout.testing.world.endings import ending
from fanout.testing.world.facts import Attempt, CallFacts
from fanout.testing.world.oracle import INSTANT_S, CallEnd, Span

# Faults that send more than was asked for.
UNASKED: Final = frozenset({"late_408", "two_answers", "trailing_bytes", "length_too_short"})


def judge_call(call: CallFacts, ended: Ended) -> Iterator[str]:
    """What is wrong with the call, as sentences."""
    if call.ended_at is None:
        yield "G3: it never ended"
        return
    slack_s = ended.slack_s(call.started_at, call.ended_at)
    yield from _time_left(call, ended)
    if not call.attempts:
        if call.ended_at > call.started_at + slack_s + INSTANT_S:
            yield "it was not even tried"
        return
    first, last = call.attempts[0], call.attempts[-1]
    begun_at = first.dials[0][0] if first.dials else first.sent_at
    if begun_at is None or begun_at > call.started_at + slack_s + INSTANT_S:
        yield f"G8: it was kept waiting from {call.started_at} to {begun_at}"
    if len(call.attempts) > 2 or (len(call.attempts) == 2 and not first.reused):
        yield f"it was tried {len(call.attempts)} times"
    if last is not first and first.heard_bytes > 0 and not _may_be_of_another(first):
        yield "G7: it was tried again, although its answer had begun"
    end = ending(call, ended.plan, slack_s)
    if call.ended_at > end.when.latest + INSTANT_S:
        yield f"it ended at {call.ended_at}, {end} is how it should have"
    if end.when.earliest > call.ended_at + INSTANT_S:
        yield from _stopped(call.ended_at, last, slack_s)
    yield from _outcome(call, end)


def _time_left(call: CallFacts, ended: Ended) -> Iterator[str]:
    """G2: no call is started or sent with less time than it needs; and what it is sent is the time left."""
    request, entered_at = call.request, call.request.entered_at
    if entered_at is None:
        return  # it should not have been made at all
    slack_s = ended.slack_s(request.sent_at, entered_at)
    by = call_starts_by(request, entered_at, slack_s, ended).latest + INSTANT_S
    if call.started_at > by:
        yield f"G2: it was started at {call.started_at}, and should not have been after {by}"
    ends = budget_ends(request, entered_at, slack_s, ended)
    for attempt in call.attempts:
        if attempt.sent_at is None:
            continue
        if attempt.sent_at > by:
            yield f"G2: it was sent at {attempt.sent_at}, and should not have been after {by}"
        left = Span(ends.earliest - slack_s - attempt.sent_at, ends.latest - attempt.sent_at)
        said_s = None if attempt.time_left_ms is None else attempt.time_left_ms / 1000
        if said_s is None or not Span(left.earliest - 0.001, left.latest).has(said_s):
            yield f"G2: its upstream was sent {attempt.time_left_ms} ms, and {left} s were left"


def _may_be_of_another(attempt: Attempt) -> bool:
    """Whether the bytes that came may be what the upstream sent behind an earlier answer, unasked."""
    return attempt.wire is None or any(call.script.fault in UNASKED for call in attempt.wire.calls)


def _stopped(ended_at: float, attempt: Attempt, slack_s: float) -> Iterator[str]:
    """It was stopped before it could end: in that instant its connection is closed."""
    if attempt.wire is None:
        return
    if attempt.closed_at is None or attempt.closed_at > ended_at + slack_s + INSTANT_S:
        yield f"G3: it was stopped at {ended_at}, and its connection was not closed with it"
    gone_at = attempt.ended_at
    is_dead = attempt.reused and not attempt.heard_bytes and gone_at is not None
    if is_dead and gone_at is not None and gone_at < ended_at - slack_s - INSTANT_S:
        yield "its reused connection was dead, and it was not tried again"


def _outcome(call: CallFacts, end: CallEnd) -> Iterator[str]:
    """What it was taken for must be what the upstream's table of faults says; or it was stopped."""
    expected = {None: "success", "crash": "crashed"}.get(end.error, end.error)
    if call.outcome not in (expected, "cancelled"):
        yield f"it was taken for {call.outcome}, and was {expected}"
