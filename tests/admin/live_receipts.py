"""Receipts to feed the live page with, for tests."""

from __future__ import annotations

from typing import Any

from fanout.observe.receipt import CallReceipt, Receipt
from fanout.race.budget import Budget
from fanout.race.events import RaceStarted


def call(outcome: str = "won", ended_at: float | None = 10.2, index: int = 0, **more: Any) -> CallReceipt:
    nothing: dict[str, Any] = dict.fromkeys(CallReceipt._fields) | CallReceipt._field_defaults
    begun: dict[str, Any] = {"started_at": 10.0, "phases": (("connect", 10.0), ("wait", 10.01))}
    known = {"call": index, "outcome": outcome, "ended_at": ended_at}
    return CallReceipt(**(nothing | begun | known | more))


def receipt(**changes: Any) -> Receipt:
    """A `first` that arrived at 10 and was answered after 0.25 s, its other call cancelled at 0.2 s."""
    told = Receipt(
        request_id="r-1",
        trace_id=None,
        endpoint="first",
        arrived_at=10.0,
        timeout_ms=1000,
        reserve_ms=20.0,
        ended_at=10.25,
        used_ms=250.0,
        status=200,
        reason="success",
        late_by_ms=0.0,
        calls=(call("won"), call("cancelled", 10.201, 1, cancel_reason="call 0 settled the race")),
    )
    return told._replace(**changes)


def started(request_id: str = "r-1", at: float = 10.0) -> RaceStarted:
    return RaceStarted(request_id, "first_success", 2, Budget(at, 1000, 20.0), at)
