"""Counts of what happened since the start, for `/statistics`. Every key is one of a fixed set of words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from fanout.race.events import AnswerSent, BugFound, CallEnded, CallerLeft, Event, RaceEnded, RequestRefused
from fanout.race.outcome import Cancelled, Crash, Failure, Success


@dataclass(frozen=True, slots=True)
class Promises:
    """What was promised and not kept, as far as the server can see it. All zero is the aim."""

    late_answers: int
    bugs: int


@dataclass(frozen=True, slots=True)
class TallyStatistics:
    """answers: by status. refused: by reason. races: by verdict. calls: by outcome or error word."""

    answers: dict[str, int]
    refused: dict[str, int]
    races: dict[str, int]
    calls: dict[str, int]
    callers_left: int
    promises_broken: Promises


class Tally:
    """An observer that counts."""

    told_of: Final = (CallEnded, RaceEnded, AnswerSent, RequestRefused, CallerLeft, BugFound)

    def __init__(self) -> None:
        self._answers: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._races: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._callers_left = 0
        self._late = 0
        self._bugs = 0

    def notify(self, event: Event) -> None:
        match event:
            case CallEnded(record=record):
                match record.outcome:
                    case Success():
                        self._calls["success"] += 1
                    case Failure(error):
                        self._calls[error] += 1
                    case Cancelled():
                        self._calls["cancelled"] += 1
                    case Crash():
                        self._calls["internal"] += 1
            case RaceEnded(verdict=verdict):
                self._races[type(verdict).__name__] += 1
            case AnswerSent(status=status, late_by_s=late_by_s):
                self._answers[str(status)] += 1
                self._late += late_by_s > 0
            case RequestRefused(reason=reason, status=status):
                self._answers[str(status)] += 1
                self._refused[reason] += 1
            case CallerLeft():
                self._callers_left += 1
            case BugFound():
                self._bugs += 1

    def statistics(self) -> TallyStatistics:
        return TallyStatistics(
            answers=dict(self._answers),
            refused=dict(self._refused),
            races=dict(self._races),
            calls=dict(self._calls),
            callers_left=self._callers_left,
            promises_broken=Promises(self._late, self._bugs),
        )
