"""From the core's last event of a request to its receipt, and to those who make something of it.

A receipt is made of one event. There is nothing to collect meanwhile, so nothing of a request that ends
oddly can stay behind, and two requests that share an id (callers may choose it) are never mixed up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from loguru import logger

from fanout.observe.receipt import CallReceipt, Receipt
from fanout.race.events import Event, RaceRecord, RequestEnded
from fanout.race.ledger import CallRecord
from fanout.race.outcome import Cancelled, Crash, Failure, Success
from fanout.race.verdict import Crashed, DeadlineReached, Every, NoSuccess, One, Verdict

KEPT_RECEIPTS: Final = 4000  # about 2.5 KB each with two calls: 10 MB
OTHER: Final = "other"
CALLER_LEFT: Final = "caller_left"
ENDPOINTS: Final = {"first_success": "first", "every_success": "all"}
_REASONS: Final[dict[type[Verdict], str]] = {
    One: "success",
    Every: "success",
    NoSuccess: "no_success",
    DeadlineReached: "deadline",
    Crashed: "internal",
}

Consumer = Callable[[Receipt], object]


class Receipts:
    """An observer that makes one receipt a request, keeps the latest, and hands each to the consumers.

    Consumers are called in turn and synchronously, after the answer was handed to the connection. They
    must not block. One that raises is a bug: it is logged, and the next one is called.
    """

    told_of: Final = frozenset({RequestEnded})

    def __init__(self, consumers: Sequence[Consumer] = (), *, kept: int = KEPT_RECEIPTS) -> None:
        self._consumers = tuple(consumers)
        self._latest: deque[Receipt] = deque(maxlen=kept)

    def notify(self, event: Event) -> None:
        if isinstance(event, RequestEnded):
            receipt = make_receipt(event)
            self._latest.append(receipt)
            for consume in self._consumers:
                try:
                    consume(receipt)
                except Exception as error:  # noqa: BLE001 - a bug in one view must not cost the others theirs
                    logger.opt(exception=error).error("a receipt could not be used by {!r}", consume)

    @property
    def latest(self) -> Sequence[Receipt]:
        """The latest receipts, the newest last. It changes while requests end: copy it to keep it."""
        return self._latest


def make_receipt(ended: RequestEnded) -> Receipt:
    race = ended.race
    budget = None if race is None else race.budget
    return Receipt(
        ended.request_id,
        None if ended.trace is None else ended.trace.trace_id,
        OTHER if race is None else endpoint_of(race.strategy),
        ended.arrived_at,
        None if budget is None else budget.timeout_ms,
        None if budget is None else budget.reserve_ms,
        ended.at,
        (ended.at - ended.arrived_at) * 1000,
        ended.status,
        ended.reason or ("success" if race is None else reason_of(race)),
        ended.late_by_s * 1000,
        () if race is None else call_receipts(race, ended.caller_left_at),
        ended.trace,
    )


def endpoint_of(strategy: str) -> str:
    """The short name of a strategy, as callers know it."""
    return ENDPOINTS.get(strategy, strategy)


def reason_of(race: RaceRecord) -> str:
    """The word for how a race ended, as in the problems' `reason`."""
    return CALLER_LEFT if race.verdict is None else _REASONS[type(race.verdict)]


def call_receipts(race: RaceRecord, caller_left_at: float | None = None) -> tuple[CallReceipt, ...]:
    return tuple([_call_receipt(record, race, caller_left_at) for record in race.calls])


def _call_receipt(record: CallRecord, race: RaceRecord, caller_left_at: float | None) -> CallReceipt:
    failed = record.outcome if isinstance(record.outcome, Failure) else None
    cancelled = record.outcome if isinstance(record.outcome, Cancelled) else None
    reason = None if cancelled is None else cancelled.reason
    exit_ms = None
    if cancelled is not None and record.started_at is not None and record.ended_at is not None:
        since = _cancelled_at(cancelled, race, caller_left_at)
        if since is not None and since <= record.ended_at:
            exit_ms = (record.ended_at - since) * 1000
        if reason is None and since is not None and since == caller_left_at:
            reason = "the caller left"
    names = [name for name, _ in record.marks]
    is_new = "connect" in names
    has_connection = is_new or "reused" in names
    return CallReceipt(
        call=record.call,
        outcome=_outcome(record, race),
        error=None if failed is None else failed.error,
        status=None if failed is None else failed.status,
        started_at=record.started_at,
        ended_at=record.ended_at,
        phases=record.marks,
        reused=not is_new if has_connection else None,
        kept=names[-1] == "kept" if has_connection else None,
        cancel_source=None if cancelled is None else cancelled.source,
        cancel_reason=reason,
        cancel_to_exit_ms=exit_ms,
    )


def _outcome(record: CallRecord, race: RaceRecord) -> str:
    if record.started_at is None:
        return "not_started"
    match record.outcome:
        case Success():
            verdict = race.verdict
            return "won" if isinstance(verdict, One) and verdict.winner == record.call else "ok"
        case Failure():
            return "failed"
        case Crash():
            return "internal"
        case Cancelled() | None:
            return "cancelled"


def _cancelled_at(cancelled: Cancelled, race: RaceRecord, caller_left_at: float | None) -> float | None:
    """When the scope was cancelled that ended a call; `None` when nobody has told."""
    if cancelled.source == "deadline":
        return race.budget.race_ends_at
    if caller_left_at is not None and (race.settled_at is None or caller_left_at < race.settled_at):
        return caller_left_at
    return race.settled_at
