"""Situations that simulation runs must cover. A green run proves nothing about the others.

Everything is counted from outside, except how connections ended: the driver counts that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from fanout.server.statistics import End
from fanout.testing.world.answers import Answer
from fanout.testing.world.dues import race_ends
from fanout.testing.world.ended import Ended
from fanout.testing.world.endings import ending
from fanout.testing.world.facts import CallFacts, RequestFacts
from fanout.testing.world.facts_streams import StreamsFacts
from fanout.testing.world.met_streams import OF_STREAMS, met_streams
from fanout.testing.world.oracle import INSTANT_S, TOO_LATE
from fanout.testing.world.upstreams import SWALLOWED

# Each with a number of requests. The chance that so many do not meet the situation is below one in 100,000.
# This was measured as the share of 90 runs of 1,000 requests that meet it, because many situations depend on
# what is drawn once per run.
SITUATIONS: Final[dict[str, int]] = {
    "the loser is cancelled": 20_000,
    "a call fails, and the answer is a success": 20_000,
    "an answer at the deadline wins": 20_000,
    "an answer at the deadline loses": 20_000,
    "the time is over before a call is made": 20_000,
    "the client leaves while calls run": 20_000,
    "a call is cancelled while it connects": 20_000,
    "a call is cancelled in the middle of its answer": 20_000,
    "a call is made again because its reused connection was dead": 20_000,
    "a call is not sent because too little time is left": 20_000,
    "a call raises": 20_000,
    "the application raises": 20_000,
    "a request is answered behind another one": 20_000,
    "a head comes too slowly": 20_000,
    "a client reads too slowly": 20_000,
    "a request is over the limit of those in flight": 60_000,
    "the shutdown closes an idle connection": 60_000,
    "a request is in flight when the shutdown begins": 200_000,
    "a request is rejected in the shutdown": 200_000,
    "a request comes in the lame duck": 200_000,
    "the client leaves between the verdict and the answer": 200_000,
    "an idle connection gives way to a new one": 200_000,
    "a second address is tried": 200_000,
    "a dead address is tried": 200_000,
    "the deadline comes while the loop stands still": 200_000,
    "the loop stands still in a clean-up": 200_000,
    "a request is shed before it is parsed": 500_000,
    "a connection is over the limit": 500_000,
    "a client leaves by fin during the shutdown": 500_000,
    "a client leaves by rst during the shutdown": 500_000,
    "a client leaves by half during the shutdown": 500_000,
    "a client over TLS is answered": 20_000,
    **OF_STREAMS,
}
MOST_PER_RUN: Final = 1000  # requests that count: a longer run has no more variety


def met(ended: Ended) -> Counter[str]:
    """How often each situation occurred in a run."""
    counts: Counter[str] = Counter()
    for end, name in _ENDS.items():
        counts[name] = ended.ends.get(end.value, 0)
    for connection in ended.connections:
        for request in connection.requests:
            counts.update(_of_request(request, connection.answer_to(request), ended))
        if connection.client.tls and connection.completed:
            counts["a client over TLS is answered"] += 1
        if isinstance(connection, StreamsFacts):
            counts.update(met_streams(connection, ended))
    return counts


def missed(counts: Mapping[str, int], requests: int) -> list[str]:
    """The situations that this number of requests should have met, but has not."""
    return [name for name, within in SITUATIONS.items() if within <= requests and not counts.get(name)]


_ENDS: Final = {
    End.EVICTED: "an idle connection gives way to a new one",
    End.OVER_LIMIT: "a connection is over the limit",
    End.SLOW_HEAD: "a head comes too slowly",
    End.SLOW_READER: "a client reads too slowly",
    End.DRAINED: "the shutdown closes an idle connection",
}


def _of_request(request: RequestFacts, answer: Answer | None, ended: Ended) -> Iterator[str]:
    script, leave, left_at = request.script, request.script.leave, request.left_at
    entered_at, calls = request.entered_at, request.calls.values()
    if leave is not None and left_at is not None and left_at > ended.drained_at:
        yield f"a client leaves by {leave.how} during the shutdown"
    if entered_at is None:
        if answer is not None and answer.reason == "overloaded":
            yield "a request is shed before it is parsed"
        return
    if ended.plan.lame_duck_ms and ended.signalled_at < entered_at < ended.drained_at:
        yield "a request comes in the lame duck"
    over_at = left_at if answer is None else answer.first_at
    if entered_at <= ended.drained_at and over_at is not None and over_at > ended.drained_at:
        yield "a request is in flight when the shutdown begins"
    if answer is not None and answer.reason == "draining":
        yield "a request is rejected in the shutdown"
    if request.was_full:
        yield "a request is over the limit of those in flight"
    if script.ask == "crash":
        yield "the application raises"
    if script.pipelined and answer is not None:
        yield "a request is answered behind another one"
    if script.ask == "first" or script.ask == "all":
        yield from _of_race(request, answer, ended, entered_at)
    for call in calls:
        yield from _of_call(call)


def _of_race(request: RequestFacts, answer: Answer | None, ended: Ended, entered_at: float) -> Iterator[str]:
    calls = request.calls.values()
    outcomes = [call.outcome for call in calls]
    if not outcomes:
        if answer is not None and answer.reason == "deadline":
            yield "the time is over before a call is made"
        return
    ends = race_ends(request, entered_at, 0.0, ended)
    if any(began <= ends.latest <= to for began, to in ended.stalls):
        yield "the deadline comes while the loop stands still"
    elif (
        answer is not None
        and abs(answer.first_at - ends.latest) <= INSTANT_S
        and _ties(request, ended, ends.latest)
    ):
        yield "an answer at the deadline wins" if answer.status == 200 else "an answer at the deadline loses"
    is_settled = not {"cancelled", TOO_LATE} & set(outcomes) or (
        request.script.ask == "first" and "success" in outcomes
    )
    if answer is None and request.left_at is not None:
        if is_settled:
            yield "the client leaves between the verdict and the answer"
        else:
            yield "the client leaves while calls run"
    if answer is not None and answer.status == 200 and outcomes.count("success") < len(outcomes):
        if request.script.ask == "all" or "cancelled" not in outcomes:
            yield "a call fails, and the answer is a success"
        else:
            yield "the loser is cancelled"


def _ties(request: RequestFacts, ended: Ended, ends_at: float) -> bool:
    """Whether a success comes in the instant in which the race ends."""
    close = [call for call in request.calls.values() if call.script.follows_reserve]
    found = (ending(call, ended.plan, 0.0) for call in close)
    return any(end.error is None and abs(end.when.latest - ends_at) <= INSTANT_S for end in found)


def _of_call(call: CallFacts) -> Iterator[str]:
    if call.outcome == "crashed":
        yield "a call raises"
    if len(call.attempts) > 1:
        yield "a call is made again because its reused connection was dead"
    if not call.attempts:
        return
    last = call.attempts[-1]
    if any(script is SWALLOWED for _, script in last.dials):
        yield "a dead address is tried"
    elif len(last.dials) > 1:
        yield "a second address is tried"
    if call.outcome == TOO_LATE:
        yield "a call is not sent because too little time is left"
    if call.outcome == "cancelled":
        if last.wire is None:
            yield "a call is cancelled while it connects"
        elif last.heard_bytes:
            yield "a call is cancelled in the middle of its answer"
        if call.script.cleanup_ms:
            yield "the loop stands still in a clean-up"
