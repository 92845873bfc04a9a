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
from fanout.race.outcome import Cancelled, Crash, Failure, Success
from fanout.race.verdict import Crashed, DeadlineReached, Every, NoSuccess, One, Verdict

KEPT_RECEIPTS: Final = 4000  # about 2.5 KB each with two calls: 10 MB
OTHER: Final = "other"
CALLER_LEFT: Final = "caller_left"
ENDPOINTS: Final = {"first_success": "first", "every_success": "all"}
_REASONS: Final[dict[type[Verdict] | type[None], str]] = {
    type(None): CALLER_LEFT,
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
    if race is None:
        endpoint, reason, timeout_ms, reserve_ms = OTHER, "success", None, None
        calls: tuple[CallReceipt, ...] = ()
    else:
        endpoint, reason = endpoint_of(race.strategy), _REASONS[type(race.verdict)]
        timeout_ms, reserve_ms = race.budget.timeout_ms, race.budget.reserve_ms
        calls = call_receipts(race, ended.caller_left_at)
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
    )


def endpoint_of(strategy: str) -> str:
    """The short name of a strategy, as callers know it."""
    return ENDPOINTS.get(strategy, strategy)


def call_receipts(race: RaceRecord, caller_left_at: float | None = None) -> tuple[CallReceipt, ...]:
    """By position, in one piece and with nothing asked twice: every request has several of them."""
    receipts = []
    for call, started_at, ended_at, outcome, marks in race.calls:
        reused = kept = error = status = source = reason = exit_ms = None
        if isinstance(outcome, Success):
            verdict = race.verdict
            word = "won" if isinstance(verdict, One) and verdict.winner == call else "ok"
        elif isinstance(outcome, Failure):
            word, error, status = "failed", outcome.error, outcome.status
        elif isinstance(outcome, Crash):
            word = "internal"
        else:
            word = "cancelled"
            if outcome is not None:
                source, reason = outcome.source, outcome.reason
                if started_at is not None and ended_at is not None:
                    since = _cancelled_at(outcome, race, caller_left_at)
                    if since is not None and since <= ended_at:
                        exit_ms = (ended_at - since) * 1000
                    if reason is None and since is not None and since == caller_left_at:
                        reason = "the caller left"
        if started_at is None:
            word = "not_started"
        if marks:
            phases = dict(marks)
            is_new = "connect" in phases
            if is_new or "reused" in phases:
                reused = not is_new
                kept = marks[-1][0] == "kept"
        receipts.append(
            CallReceipt(
                call, word, error, status, started_at, ended_at, marks, reused, kept, source, reason, exit_ms
            )
        )
    return tuple(receipts)


def _cancelled_at(cancelled: Cancelled, race: RaceRecord, caller_left_at: float | None) -> float | None:
    """When the scope was cancelled that ended a call; `None` when nobody has told."""
    if cancelled.source == "deadline":
        return race.budget.race_ends_at
    if caller_left_at is not None and (race.settled_at is None or caller_left_at < race.settled_at):
        return caller_left_at
    return race.settled_at
