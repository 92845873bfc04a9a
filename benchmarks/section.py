"""What a section of the benchmark is: a module that measures one question and shows what it found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import nan
from pathlib import Path
from statistics import median, stdev
from typing import Any, Protocol

from benchmarks.contenders import AIOHTTP_NAME, FANOUT_NAME, GO_NAME, PATIENT_NAME

SERVER_CORE, OTHER_CORE = 0, 1
WHERE = "the server on core 0; the generator and the upstream on core 1"

SHORT = (FANOUT_NAME, PATIENT_NAME, AIOHTTP_NAME, GO_NAME)

Found = dict[str, Any]
"""What a section has found: JSON, so no key but strings."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How long to measure. folder: for what may be lost. say: a line of progress."""

    short: bool
    repeats: int | None
    folder: Path
    say: Callable[[str], None]

    def times(self, usual: int) -> int:
        """How often to repeat what is usually repeated so often."""
        return self.repeats or (1 if self.short else usual)

    def servers(self, usual: Sequence[str]) -> Sequence[str]:
        """Which of the usual servers: a short run has not the time for all."""
        return [name for name in usual if not self.short or name in SHORT]

    def seconds(self, usual: int, short: int) -> int:
        return short if self.short else usual


class Section(Protocol):
    """One question. `plots` draws into axes of matplotlib, and only there it may be imported.

    One that compares servers has `compared(found) -> list[Comparison]`, too (`comparison.py`).
    """

    NAME: str
    TITLE: str

    def run(self, settings: Settings) -> Found:
        """Measure."""

    def render(self, found: Found) -> str:
        """Markdown: what was measured how, and the figures. Needs nothing but the standard library."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A middle and its standard error, over the rounds of one run."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ± {self.error:.2f}"


def figure(values: Sequence[float]) -> Figure:
    """The median of several rounds. One round has no error to tell: NaN."""
    return _figure(tuple(values))


@lru_cache(4096)  # a page asks for the same rounds up to a thousand times
def _figure(values: tuple[float, ...]) -> Figure:
    if len(values) < 2:
        return Figure(median(values), nan)
    return Figure(median(values), stdev(values) / len(values) ** 0.5)


def ratio(values: Sequence[float], bases: Sequence[float]) -> str:
    """Of each round to the same round of the base, as Markdown."""
    found = figure([value / base for value, base in zip(values, bases, strict=True)])
    return f"{found.value:.2f}" if found.error != found.error else str(found)


def remarked(value: str, remark: str) -> str:
    """A figure of a table or a text, with what must be known of it wherever it stands."""
    return f"{value} ({remark})" if remark else value


def rows(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
