"""Counts of what happened since the start, for `/statistics`. Every key is one of a fixed set of words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from fanout.race.events import BugFound, Event, RaceRecord, RequestEnded, RequestRefused
from fanout.race.outcome import Cancelled, Crash, Failure, Outcome, Success


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

    told_of: Final = frozenset({RequestEnded, RequestRefused, BugFound})

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
            case RequestEnded():
                self._count(event)
            case RequestRefused(reason=reason):
                self._refused[reason] += 1
            case BugFound():
                self._bugs += 1

    def _count(self, ended: RequestEnded) -> None:
        if ended.reason == "caller_left":
            self._callers_left += 1
        else:
            self._answers[str(ended.status)] += 1
            self._late += ended.late_by_s > 0
        if ended.race is not None:
            self._count_race(ended.race)

    def _count_race(self, race: RaceRecord) -> None:
        if race.verdict is not None:
            self._races[type(race.verdict).__name__] += 1
        for record in race.calls:
            if record.outcome is not None:
                self._calls[_word(record.outcome)] += 1

    def statistics(self) -> TallyStatistics:
        return TallyStatistics(
            answers=dict(self._answers),
            refused=dict(self._refused),
            races=dict(self._races),
            calls=dict(self._calls),
            callers_left=self._callers_left,
            promises_broken=Promises(self._late, self._bugs),
        )


def _word(outcome: Outcome) -> str:
    match outcome:
        case Success():
            return "success"
        case Failure(error):
            return error
        case Cancelled():
            return "cancelled"
        case Crash():
            return "internal"
