"""How each call would have ended, from its script and what the network and the upstream saw of it."""

from __future__ import annotations

from math import ceil
from typing import Final

from fanout.testing.world.facts import Attempt, CallFacts
from fanout.testing.world.oracle import CRASH, INSTANT_S, NEVER, TOO_LATE, CallEnd, Span, at
from fanout.testing.world.plan import Plan
from fanout.tools.simulator.faults import FAULTS

# They do not fit into a small window: over a way with a latency they come a window at a time.
_LARGE: Final = frozenset(
    {
        "huge_head",
        "endless_head",
        "endless_informational",
        "huge_body",
        "huge_chunked",
        "gzip_bomb",
        "deep_json",
        "time_digits",
    }
)
MAX_RESERVE_MS: Final = 100.0  # the largest time reserve that a late event loop can cause
_LARGE_BYTES: Final = 200_000  # more than is read of any of them
# A right answer, and soon after it the end of the connection: what is sent over it by then gets no answer.
_LAST_WORDS: Final = frozenset({"late_408", "close_idle", "rst_idle", "close_at_once", "cut_after_answer"})
_BREAKS: Final = frozenset({"accept_rst", "accept_fin"})  # a connection that ends as soon as it is accepted
_NO_TAG: Final = frozenset({"extra_members"})  # its payload has no room for one


def ending(call: CallFacts | None, plan: Plan, slack_s: float) -> CallEnd:
    """How the call ends. `None`, and a call that got nowhere: never."""
    if call is None or not call.attempts:
        return CallEnd(NEVER, "hang")
    last = call.attempts[-1]
    late_at = _late_at(call, last, plan, slack_s)
    end = _ending(call, last, plan) if late_at is None else CallEnd(at(late_at), TOO_LATE)
    return CallEnd(Span(end.when.earliest, end.when.latest + slack_s), end.error, end.time, end.tag)


def _late_at(call: CallFacts, last: Attempt, plan: Plan, slack_s: float) -> float | None:
    """When it was connected, if so little time was left then that its request was not sent."""
    wire = last.wire
    if wire is None or last.sent_at is not None or not is_late(call, wire.connected_at, plan, slack_s):
        return None
    may_be_in_time = bool(slack_s) or plan.has_stalls
    if may_be_in_time and call.outcome == "broken" and wire.how in _BREAKS:
        return None
    return wire.connected_at


def is_late(call: CallFacts, moment: float, plan: Plan, slack_s: float) -> bool:
    """Whether so little time was left then that its request was not sent; with a late event loop, perhaps."""
    request = call.request
    assert request.entered_at is not None
    reserve_ms = plan.reserve_ms + request.more_reserve_ms
    if slack_s or plan.has_stalls:
        reserve_ms = max(reserve_ms, MAX_RESERVE_MS + request.more_reserve_ms)
    ends_at = request.entered_at + (request.script.timeout_ms - reserve_ms) / 1000 - slack_s
    return moment > ends_at - plan.min_call_ms / 1000 + INSTANT_S


def _ending(call: CallFacts, attempt: Attempt, plan: Plan) -> CallEnd:
    latency_s = plan.upstream_latency_ms / 1000
    crashed_at = [begun_at + dial.after_ms / 1000 for begun_at, dial in attempt.dials if dial.how == "crash"]
    if crashed_at and (attempt.wire is None or min(crashed_at) <= attempt.wire.connected_at + INSTANT_S):
        return CallEnd(at(min(crashed_at)), CRASH)
    if attempt.wire is None:
        return _unreachable(attempt, plan)
    match attempt.wire.how:
        case "accept_hang":
            return CallEnd(NEVER, "hang")
        case how if how in _BREAKS:
            return CallEnd(at(attempt.wire.connected_at + latency_s), "broken")
    if attempt.sent_at is None or not call.arrivals or call.arrivals[-1] < attempt.sent_at:
        return CallEnd(NEVER, "hang")  # on its way, or lost with a connection that had been idle
    before = attempt.wire.before(call) if attempt.reused else None
    if before is not None and before.script.fault in _LAST_WORDS:
        return CallEnd(NEVER, "hang")  # until the connection ends, and the call is tried again
    script = call.script
    answered_at = call.arrivals[-1] + call.delay_ms / 1000 + latency_s
    kind = None
    if script.fault is not None:
        kind = FAULTS[script.fault].kind
    if kind == "hang":
        return CallEnd(NEVER, "hang")
    if script.fault == "drip":
        answered_at += script.drip_ms / 1000
    when = at(answered_at)
    if script.fault in _LARGE:
        when = Span(answered_at, answered_at + latency_s * ceil(_LARGE_BYTES / plan.upstream_window_bytes))
    tag = None if script.fault in _NO_TAG else call.tag
    return CallEnd(when, kind, call.delay_ms, tag)


def _unreachable(attempt: Attempt, plan: Plan) -> CallEnd:
    """No connection (yet)."""
    failed_at = [begun_at + dial.after_ms / 1000 for begun_at, dial in attempt.dials if dial.how == "refuse"]
    if len(failed_at) == plan.addresses:
        return CallEnd(at(max(failed_at)), "unreachable")
    return CallEnd(NEVER, "hang")
