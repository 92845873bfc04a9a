"""What a ledger means: plain functions over values, no await, no framework.

A strategy looks at the ledger and returns its verdict, or `None` while more calls could change it.
The race asks after every ending, and cancels what is left as soon as the strategy is settled. What
is still unsettled when the nursery closes was stopped by the deadline. A new strategy (a quorum,
say) is one more function here.

Rule 1: the verdict is read from the record, never from `cancelled_caught`: a success that was
        recorded counts, even if a loser's clean-up crossed the deadline (G4).
Rule 2: a bug outranks every answer (G11).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fanout.race.ledger import CallRecord, Ledger
from fanout.race.outcome import NOT_STARTED, WON, Cancelled, Success


@dataclass(frozen=True, slots=True)
class One:
    """One call's answer is the answer."""

    winner: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Every:
    """These calls' answers, in call order, are the answer. Never empty."""

    payloads: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class NoSuccess:
    """Every call ended by itself and none succeeded; or too few did, for a strategy that needs several.

    needed: how many had to succeed.
    """

    needed: int = 1


@dataclass(frozen=True, slots=True)
class DeadlineReached:
    """The budget was spent before the strategy was settled."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """A bug of ours. `exception` has been reported already."""

    exception: BaseException


Verdict = One | Every | NoSuccess | DeadlineReached | Crashed
Strategy = Callable[[Ledger], Verdict | None]


def first_success(ledger: Ledger) -> Verdict | None:
    """The success that was recorded first (G4). A failure never wins, however early."""
    if ledger.crash is not None:
        return Crashed(ledger.crash)
    winner = ledger.winner
    if winner is not None and isinstance(winner.outcome, Success):
        return One(winner.call, winner.outcome.payload)
    return None if ledger.pending or ledger.stopped else NoSuccess()


def every_success(ledger: Ledger) -> Verdict | None:
    """Every success, in call order, once every call has ended by itself (G5)."""
    if ledger.crash is not None:
        return Crashed(ledger.crash)
    if ledger.pending or ledger.stopped:
        return None
    payloads = tuple([r.outcome.payload for r in ledger.records if isinstance(r.outcome, Success)])
    return Every(payloads) if payloads else NoSuccess()


def word_of(record: CallRecord, verdict: Verdict | None) -> str:
    """What became of a call that is over, in one word: `won`, `not_started`, or the word of its outcome."""
    if record.started_at is None:
        return NOT_STARTED
    if isinstance(verdict, One) and verdict.winner == record.call:
        return WON
    return Cancelled.word if record.outcome is None else record.outcome.word
