"""What is known of one request after its end: the record that every view of the service is made from.

Times are Trio clock seconds, unless the name says otherwise (`_ms`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from fanout.race.marks import Trace


class CallReceipt(NamedTuple):
    """One upstream call. `None` means unknown, or that it does not apply.

    call: its index, which is also its upstream's.
    outcome: `won` (its answer is the answer), `ok` (a success), `failed`, `cancelled`, `internal` (a bug),
        or `not_started` (its time was over, or the race was, before it could begin).
    error: a failed call's stable word, see `fanout.upstream.errors`. status: the upstream's, of a failed
        call whose head was read.
    phases: (name, at) as each began, in order; the names are those of `fanout.upstream.exchange`.
    reused: it went over a connection that had been idle, and not over a new one.
    kept: its connection was kept open for the next call, and not closed.
    cancel_source: who cancelled, in Trio's words. cancel_reason: why, in a sentence.
    cancel_to_exit_ms: from the moment of the cancellation to the end of the call.
    """

    call: int
    outcome: str
    error: str | None
    status: int | None
    started_at: float | None
    ended_at: float | None
    phases: tuple[tuple[str, float], ...]
    reused: bool | None
    kept: bool | None
    cancel_source: str | None
    cancel_reason: str | None
    cancel_to_exit_ms: float | None

    def to_json(self, arrived_at: float) -> dict[str, Any]:
        """The same, with every time in milliseconds after the arrival. Made of JSON's own types."""

        def after_ms(at: float | None) -> float | None:
            return None if at is None else _ms(at - arrived_at)

        return {
            "upstream": self.call,
            "outcome": self.outcome,
            "error": self.error,
            "status": self.status,
            "started_ms": after_ms(self.started_at),
            "ended_ms": after_ms(self.ended_at),
            "phases": [[name, after_ms(at)] for name, at in self.phases],
            "reused": self.reused,
            "kept": self.kept,
            "cancel_source": self.cancel_source,
            "cancel_reason": self.cancel_reason,
            "cancel_to_exit_ms": None if self.cancel_to_exit_ms is None else round(self.cancel_to_exit_ms, 3),
        }


class Receipt(NamedTuple):
    """One request, from its arrival to the last byte of its answer.

    trace_id: W3C, 32 hexadecimal digits; `None` when it is not traced.
    endpoint: the strategy's short name (`first`, `all`), or `other`: no race was run.
    timeout_ms: what the caller asked for. reserve_ms: what of it was kept back to answer. used_ms: what
        it took, from arrival to end. `None` without a race.
    status: the answer's; `None` when the caller left before it. reason: the problem's `reason`, or
        `success`, or `caller_left`.
    late_by_ms: by how much the answer missed the timeout; 0 when it did not.
    calls: in call order. Those still running when the caller left have been cancelled.
    trace: for the tracer alone: what it gave to the request.
    """

    request_id: str
    trace_id: str | None
    endpoint: str
    arrived_at: float
    timeout_ms: int | None
    reserve_ms: float | None
    ended_at: float
    used_ms: float
    status: int | None
    reason: str
    late_by_ms: float
    calls: tuple[CallReceipt, ...]
    trace: Trace | None = None

    def to_json(self, clock_offset_s: float | None = None) -> dict[str, Any]:
        """Made of JSON's own types; every time in milliseconds after the arrival.

        clock_offset_s: what to add to Trio's clock for Unix time. Without it there is no `arrived`.
        """
        entry: dict[str, Any] = {"request_id": self.request_id, "trace_id": self.trace_id}
        if clock_offset_s is not None:
            arrived_unix_s = self.arrived_at + clock_offset_s
            entry["arrived_unix_s"] = round(arrived_unix_s, 6)
            entry["arrived"] = datetime.fromtimestamp(arrived_unix_s, UTC).isoformat()
        return entry | {
            "endpoint": self.endpoint,
            "timeout_ms": self.timeout_ms,
            "reserve_ms": None if self.reserve_ms is None else _ms(self.reserve_ms / 1000),
            "used_ms": _ms(self.used_ms / 1000),
            "status": self.status,
            "reason": self.reason,
            "late_by_ms": _ms(self.late_by_ms / 1000),
            "calls": [call.to_json(self.arrived_at) for call in self.calls],
        }


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
