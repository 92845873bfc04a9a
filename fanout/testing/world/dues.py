"""What one request may be answered: the oracle's word on races, and what is fixed for everything else."""

from __future__ import annotations

from fanout.testing.world.answers import Answer
from fanout.testing.world.ended import Ended
from fanout.testing.world.endings import MAX_RESERVE_MS, ending
from fanout.testing.world.facts import RequestFacts
from fanout.testing.world.oracle import INSTANT_S, CallEnd, Due, Span, allowed, at


def dues_of(request: RequestFacts, arrived_at: float, slack_s: float, ended: Ended) -> list[Due]:
    """The allowed answers to a request that the application was given."""
    script, entered_at = request.script, request.entered_at
    assert entered_at is not None
    at_once = Span(entered_at, entered_at + slack_s)
    dues = []
    if entered_at >= ended.drained_at - INSTANT_S:
        dues.append(Due(503, "draining", at_once))
        if entered_at > ended.drained_by(entered_at):
            return dues
    if request.was_full:
        return [*dues, Due(503, "overloaded", at_once)]
    calls = [ending(request.calls.get(index), ended.plan, slack_s) for index in range(len(script.calls))]
    if script.ask == "first" or script.ask == "all":
        ends = race_ends(request, arrived_at, slack_s, ended)
        starts_by = call_starts_by(request, arrived_at, slack_s, ended)
        return dues + allowed(script.ask, calls, arrived_at, ends, starts_by)
    if script.ask == "own":
        assert ended.oracle is not None
        return dues + ended.oracle(request, calls, arrived_at, race_ends(request, arrived_at, slack_s, ended))
    return [*dues, Due(script.status, script.reason, at_once)]


def race_ends(request: RequestFacts, arrived_at: float, slack_s: float, ended: Ended) -> Span:
    """When the time of the request's calls is over."""
    if request.deadline_at is not None:
        return at(request.deadline_at)
    return budget_ends(request, arrived_at, slack_s, ended)


def call_starts_by(request: RequestFacts, arrived_at: float, slack_s: float, ended: Ended) -> Span:
    """Until when a call is started, and its request sent: as long as there is the time that a call needs."""
    ends, needs_s = budget_ends(request, arrived_at, slack_s, ended), ended.plan.min_call_ms / 1000
    return Span(ends.earliest - slack_s - needs_s, ends.latest - needs_s)


def budget_ends(request: RequestFacts, arrived_at: float, slack_s: float, ended: Ended) -> Span:
    """The same, by the request's budget alone. This is what its upstreams are sent."""
    ends_at = (
        arrived_at + (request.script.timeout_ms - (ended.plan.reserve_ms + request.more_reserve_ms)) / 1000
    )
    if not any(began <= ends_at for began, _ in ended.stalls):
        return at(ends_at)
    more_ms = max(0.0, MAX_RESERVE_MS - ended.plan.reserve_ms)
    return Span(ends_at - more_ms / 1000, max(ends_at, arrived_at) + slack_s)


def is_due(answer: Answer, due: Due, *, head_only: bool) -> bool:
    """Whether the answer is the one that is due. Of one without its whole body, only the head is compared."""
    if answer.status != due.status or not due.when.has(answer.first_at):
        return False
    if head_only or answer.last_at is None:
        return True
    if answer.reason != due.reason:
        return False
    if due.calls:
        return _says(answer, due.calls)
    return not due.errors or tuple(call["error"] for call in answer.json["calls"]) == due.errors


def _says(answer: Answer, calls: tuple[CallEnd, ...]) -> bool:
    """Whether the payloads are those of these calls, in this order."""
    said = answer.json if isinstance(answer.json, list) else [answer.json]
    return [(one["time"], one.get("tag")) for one in said] == [(call.time, call.tag) for call in calls]
