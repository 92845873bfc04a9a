"""What is known of one request after its end: the record that every view of the service is made from.

Times are Trio clock seconds, unless the name says otherwise (`_ms`).

Rule 1: a receipt is made from one event. Nothing is collected while the request runs, so nothing of a request
        that ends oddly can stay behind, and two requests that share an id (clients may choose it) are never
        mixed up.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from fanout.race.events import RaceRecord, RequestEnded
from fanout.race.outcome import Cancelled, Failure, NotStarted
from fanout.race.timings import Trace
from fanout.race.verdict import Crashed, DeadlineReached, Every, NoSuccess, One, Verdict, word_of

NO_RACE: Final = "other"
CLIENT_DISCONNECTED: Final = "client_disconnected"
MAX_PATH_BYTES: Final = 256  # of what a client sends: thousands of receipts are kept
ENDPOINTS: Final = {"first_success": "first", "every_success": "all"}
_REASONS: Final[dict[type[Verdict] | type[None], str]] = {
    type(None): CLIENT_DISCONNECTED,
    One: "success",
    Every: "success",
    NoSuccess: "no_success",
    DeadlineReached: "deadline",
    Crashed: "internal",
}


class CallReceipt(NamedTuple):
    """One upstream call. `None` means unknown, or that it does not apply.

    call: its index, which is also its upstream's.
    outcome: `won` (its answer is the answer), `ok` (a success), `failed`, `cancelled`, `internal` (a bug),
        or `not_started` (its time was over, or the race was, before it could begin; or its strategy did not
        want it, and `cancel_reason` says why).
    error: a failed call's stable word, see `fanout.upstream.errors`. status: the upstream's, of a failed
        call whose head was read.
    phases: (name, at) as each began, in order; the names are those of `fanout.upstream.phases`.
    reused: it went over a connection that had been idle, and not over a new one.
    kept: its connection was kept open for the next call, and not closed.
    cancel_source: who cancelled, in Trio's words. cancel_reason: why, in a sentence.
    cancel_to_exit_ms: from the moment of the cancellation to the end of the call.
    left: the asyncio tasks that were alive after its end, by the place in the code; see `CallTimings`.
    time_left_ms: what its upstream was sent, last, as the time that is left of the race; see `CallTimings`.
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
    left: tuple[str, ...] = ()
    time_left_ms: int | None = None

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
            "left": list(self.left),
            "time_left_ms": self.time_left_ms,
        }


class Receipt(NamedTuple):
    """One request, from its arrival to the last byte of its answer.

    trace_id: W3C, 32 hexadecimal digits; `None` when it is not traced.
    endpoint: the strategy's short name (`first`, `all`), or `other`: no race was run.
    timeout_ms: what the client asked for. timeout_from: where it comes from, in a word of
        `fanout.race.budget`. reserve_ms: the part of it that was kept for writing the answer.
    used_ms: what it took, from arrival to end. `None` without a race.
    status: the answer's; `None` when the client disconnected before it. reason: the problem's `reason`, or
        `success`, or `client_disconnected`.
    late_by_ms: by how much the answer missed the timeout; 0 when it did not.
    calls: in call order. Those still running when the client disconnected have been cancelled.
    trace: for the tracer alone: what it gave to the request.
    method, path, client: for the log alone. The path is as it was sent, without the query, and may be cut;
        the client is its address and port.
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
    method: str = ""
    path: str = ""
    client: tuple[str, int] | None = None
    timeout_from: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Made of JSON's own types; every time in milliseconds after the arrival."""
        return {
            "request_id": self.request_id,
            "trace_id": self.trace_id,
            "endpoint": self.endpoint,
            "timeout_ms": self.timeout_ms,
            "timeout_from": self.timeout_from,
            "reserve_ms": None if self.reserve_ms is None else _ms(self.reserve_ms / 1000),
            "used_ms": _ms(self.used_ms / 1000),
            "status": self.status,
            "reason": self.reason,
            "late_by_ms": _ms(self.late_by_ms / 1000),
            "calls": [call.to_json(self.arrived_at) for call in self.calls],
        }


def make_receipt(ended: RequestEnded) -> Receipt:
    race = ended.race
    if race is None:
        endpoint, reason = NO_RACE, "success"
        timeout_ms = reserve_ms = timeout_from = None
        calls: tuple[CallReceipt, ...] = ()
    else:
        endpoint, reason = endpoint_of(race.strategy), _REASONS[type(race.verdict)]
        _, timeout_ms, reserve_ms, timeout_from = race.budget
        calls = call_receipts(race, ended.client_left_at)
    return Receipt(
        ended.request_id,
        None if ended.trace is None else ended.trace.trace_id,
        endpoint,
        ended.arrived_at,
        timeout_ms,
        reserve_ms,
        ended.at,
        (ended.at - ended.arrived_at) * 1000,
        ended.status,
        ended.reason or reason,
        ended.late_by_s * 1000,
        calls,
        ended.trace,
        ended.method,
        ended.raw_path[:MAX_PATH_BYTES].decode("latin-1"),
        ended.client,
        timeout_from,
    )


def endpoint_of(strategy: str) -> str:
    """The short name of a strategy, as clients know it."""
    return ENDPOINTS.get(strategy, strategy)


def call_receipts(race: RaceRecord, client_left_at: float | None = None) -> tuple[CallReceipt, ...]:
    """By position, in one piece and with nothing asked twice: every request has several of them."""
    receipts = []
    verdict = race.verdict
    for record in race.calls:
        call, started_at, ended_at, outcome, seen, left, time_left_ms = record
        word = word_of(record, verdict)
        reused = kept = error = status = source = reason = exit_ms = None
        if isinstance(outcome, Failure):
            error, status = outcome.error, outcome.status
        elif isinstance(outcome, Cancelled):
            source, reason = outcome.source, outcome.reason
            if started_at is not None and ended_at is not None:
                since = _cancelled_at(outcome, race, client_left_at)
                if since is not None and since <= ended_at:
                    exit_ms = (ended_at - since) * 1000
                if reason is None and since is not None and since == client_left_at:
                    reason = "the client disconnected"
        elif isinstance(outcome, NotStarted):
            reason = outcome.reason
        if seen:
            phases = dict(seen)
            is_new = "connect" in phases
            if is_new or "reused" in phases:
                reused = not is_new
                kept = seen[-1][0] == "kept"
        receipts.append(
            CallReceipt(
                call,
                word,
                error,
                status,
                started_at,
                ended_at,
                seen,
                reused,
                kept,
                source,
                reason,
                exit_ms,
                left,
                time_left_ms,
            )
        )
    return tuple(receipts)


def _cancelled_at(cancelled: Cancelled, race: RaceRecord, client_left_at: float | None) -> float | None:
    """When the scope was cancelled that ended a call; `None` when nothing says so."""
    if cancelled.source == "deadline":
        return race.budget.race_ends_at
    if client_left_at is not None and (race.settled_at is None or client_left_at < race.settled_at):
        return client_left_at
    return race.settled_at


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
