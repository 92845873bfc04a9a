"""Counts of what happened since the start, for `/statistics`. Every key is one of a fixed set of words."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from fanout.race.events import BugFound, Event, RequestEnded, RequestRefused
from fanout.race.outcome import Cancelled, Crash, Failure, Outcome, Success
from fanout.race.verdict import Verdict

_WORDS: Final[dict[type[Outcome], str]] = {Success: "success", Cancelled: "cancelled", Crash: "internal"}


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
        self._answers: dict[int | None, int] = defaultdict(int)
        self._refused: dict[str, int] = defaultdict(int)
        self._races: dict[type[Verdict], int] = defaultdict(int)
        self._calls: dict[str, int] = defaultdict(int)
        self._callers_left = 0
        self._late = 0
        self._bugs = 0

    def notify(self, event: Event) -> None:
        if isinstance(event, RequestEnded):
            self._count(event)
        elif isinstance(event, RequestRefused):
            self._refused[event.reason] += 1
        elif isinstance(event, BugFound):
            self._bugs += 1

    def _count(self, ended: RequestEnded) -> None:
        if ended.reason == "caller_left":
            self._callers_left += 1
        else:
            self._answers[ended.status] += 1
            if ended.late_by_s > 0:
                self._late += 1
        race = ended.race
        if race is None:
            return
        if race.verdict is not None:
            self._races[type(race.verdict)] += 1
        for record in race.calls:
            outcome = record.outcome
            if isinstance(outcome, Failure):
                self._calls[outcome.error] += 1
            elif outcome is not None:
                self._calls[_WORDS[type(outcome)]] += 1

    def statistics(self) -> TallyStatistics:
        return TallyStatistics(
            answers={str(status): count for status, count in self._answers.items()},
            refused=dict(self._refused),
            races={verdict.__name__: count for verdict, count in self._races.items()},
            calls=dict(self._calls),
            callers_left=self._callers_left,
            promises_broken=Promises(self._late, self._bugs),
        )
