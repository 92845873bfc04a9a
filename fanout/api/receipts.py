"""The receipt that a client gets if it sends `X-Fanout-Receipt: 1`, as far as the answer can contain it.

Its size depends on the number of calls, and on nothing that a client sends. Of the reasons of a
cancellation it contains only fanout's own sentences: Trio's can quote an exception. The tasks that a
call left are for operators, because they name places in the code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fanout.observe.receipt import ENDPOINTS, CallReceipt, call_receipts
from fanout.race.events import RaceRecord
from fanout.race.outcome import TOO_LATE


def receipt_member(race: RaceRecord) -> dict[str, Any]:
    """The `receipt` of a problem. Times are milliseconds after the arrival of the request."""
    budget = race.budget
    calls = [call.to_json(budget.arrived_at) for call in call_receipts(race)]
    for call in calls:
        del call["left"]
        if call["cancel_source"] not in (None, "explicit") and call["cancel_reason"] != TOO_LATE.reason:
            call["cancel_reason"] = None
    return {
        "endpoint": ENDPOINTS.get(race.strategy, race.strategy),
        "timeout_ms": budget.timeout_ms,
        "timeout_from": budget.timeout_from,
        "reserve_ms": round(budget.reserve_ms, 3),
        "calls": calls,
    }


def receipt_timings(race: RaceRecord) -> list[str]:
    """More entries of `Server-Timing`: the timeout and where it comes from; of each call the phases, with how
    long each took, the time left that its upstream was sent, and its cancellation."""
    budget = race.budget
    timeout = f'timeout;dur={budget.timeout_ms}.000;desc="{budget.timeout_from}"'
    return [timeout, *[timing for call in call_receipts(race) for timing in _timings(call)]]


def _timings(call: CallReceipt) -> Sequence[str]:
    ends = [*[at for _, at in call.phases[1:]], call.ended_at or 0.0]
    timings = [
        f"call{call.call}.{name};dur={(end - begin) * 1000:.3f}"
        for (name, begin), end in zip(call.phases, ends, strict=False)  # without a phase one end is left
    ]
    if call.time_left_ms is not None:
        timings.append(f"call{call.call}.time_left;dur={call.time_left_ms}.000")
    if call.cancel_to_exit_ms is not None:
        why = call.cancel_reason if call.cancel_source == "explicit" else call.cancel_source
        timings.append(f'call{call.call}.cancelled;dur={call.cancel_to_exit_ms:.3f};desc="{why}"')
    return timings
