"""A schedule: at which choices of a run something else is taken than usual.

The choices of a run are numbered from 1, in the order in which they come. Each has a default and named
alternatives. The same schedule is the same run, so the choices up to the last deviation of a schedule and
those of the schedule without it are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_DEVIATION: Final = re.compile(r"([1-9][0-9]{0,5}):([a-z0-9.]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Deviation:
    """At this choice of the run, take this alternative."""

    at: int
    take: str

    def __str__(self) -> str:
        return f"{self.at}:{self.take}"


Schedule = tuple[Deviation, ...]
"""Deviations, in the order of their choices."""


class NoSuchChoice(ValueError):
    """The schedule does not fit the run: it has no such choice, or the choice has no such alternative."""


def schedule_of(text: str) -> Schedule:
    """Of a text such as `41:c0.fin,57:2nd`; the empty text is the schedule without a deviation.

    Raises `ValueError`.
    """
    deviations = []
    for part in text.split(",") if text else []:
        found = _DEVIATION.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"{part.strip()!r} is not a deviation such as 41:c0.fin")
        deviations.append(Deviation(int(found[1]), found[2]))
    places = [deviation.at for deviation in deviations]
    if places != sorted(set(places)):
        raise ValueError("the numbers of the choices must increase")
    return tuple(deviations)


def text_of(schedule: Schedule) -> str:
    return ",".join(map(str, schedule))


class Choices:
    """The choices of one run, made as a schedule says.

    made: how many there were so far. after: those behind the last deviation, each with its alternatives.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._takes = {deviation.at: deviation.take for deviation in schedule}
        self._last = schedule[-1].at if schedule else 0
        self.made = 0
        self.after: list[tuple[int, Sequence[str]]] = []

    def choose(self, alternatives: Sequence[str]) -> str | None:
        """The alternative that is taken; `None` for the default. Raises `NoSuchChoice`."""
        self.made += 1
        if self.made > self._last:
            self.after.append((self.made, alternatives))
            return None
        take = self._takes.get(self.made)
        if take is not None and take not in alternatives:
            raise NoSuchChoice(f"{self.made}:{take}: there, it is one of {', '.join(alternatives)}")
        return take

    def check(self) -> None:
        """At the end of the run: raises `NoSuchChoice` if it did not come to the last deviation."""
        if self.made < self._last:
            raise NoSuchChoice(f"{self._last}:{self._takes[self._last]}: the run has {self.made} choices")


def extensions(schedule: Schedule, after: Sequence[tuple[int, Sequence[str]]]) -> Iterator[Schedule]:
    """Every schedule that has one deviation more, behind its last one. after: the choices there.

    So every schedule is the extension of exactly one: of itself without its last deviation.
    """
    for at, alternatives in after:
        for take in alternatives:
            yield (*schedule, Deviation(at, take))
