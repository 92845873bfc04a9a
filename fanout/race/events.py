"""What observers are told: frozen facts, in the past tense. Adapters tell the stories.

Times are Trio clock seconds. Every event names the request it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fanout.race.budget import Budget
from fanout.race.ledger import CallRecord
from fanout.race.verdict import Verdict


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """No race was run: the caller's mistake, overload, or draining. `reason` is the problem's."""

    request_id: str
    reason: str
    status: int
    at: float


@dataclass(frozen=True, slots=True)
class RaceStarted:
    request_id: str
    strategy: str
    calls: int
    budget: Budget
    at: float


@dataclass(frozen=True, slots=True)
class CallStarted:
    request_id: str
    call: int
    at: float


@dataclass(frozen=True, slots=True)
class CallEnded:
    request_id: str
    record: CallRecord
    at: float


@dataclass(frozen=True, slots=True)
class RaceEnded:
    """The nursery is closed: no task of the race is left. `records` are in call order."""

    request_id: str
    verdict: Verdict
    records: tuple[CallRecord, ...]
    budget: Budget
    at: float


@dataclass(frozen=True, slots=True)
class AnswerSent:
    """The last byte was handed to the connection. `late_by_s` > 0 is a broken promise (G2)."""

    request_id: str
    status: int
    late_by_s: float
    at: float


@dataclass(frozen=True, slots=True)
class CallerLeft:
    """The request was cancelled from outside before it was answered (G6)."""

    request_id: str
    at: float


@dataclass(frozen=True, slots=True)
class BugFound:
    """An unexpected exception, told where it happened, so that no cancelled group can lose it (G11)."""

    request_id: str
    where: str
    exception: BaseException
    at: float


Event = (
    RequestRefused | RaceStarted | CallStarted | CallEnded | RaceEnded | AnswerSent | CallerLeft | BugFound
)


class Observer(Protocol):
    """Receives every event, in order, synchronously. It must neither block nor raise."""

    def notify(self, event: Event) -> None: ...
