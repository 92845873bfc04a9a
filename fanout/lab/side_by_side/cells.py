"""The matrix as values: sections of rows, a cell for each variant, and the details of a cell.

Rule 1: no leak is claimed without a count. A verdict follows from `counts` and times, and is never typed in.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from fanout.lab.timeline import Lane

Verdict = Literal["kept", "late", "broken", "not measured"]
"""kept: right, on time, nothing left. late: right and nothing left, but after it was due. broken: wrong, or
something was left, cut off or lost. not measured: `text` says why, in a few words."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One variant in one situation.

    text: the outcome in at most 24 characters, such as `+400 ms` or `1 task left`.
    counts: whatever was counted, units in the names: tasks_at_0_ms, tasks_at_50_ms, sockets, slots, threads.
    source: the lines of the variant. leak: the number of the line (from 1) that leaks or waits, or `None`.
    """

    variant: str
    verdict: Verdict
    text: str
    answered_ms: float | None = None
    due_ms: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    source: str = ""
    leak: int | None = None
    timeline: tuple[Lane, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One situation at one endpoint (`first`, `all`, or "" where that makes no difference)."""

    name: str
    endpoint: str
    situation: str  # one sentence
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """name: `tasks`, `wire`, `slots` or `one moment`. how: one sentence on how it was measured."""

    name: str
    title: str
    how: str
    variants: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """versions: of Python and of each library that was compared."""

    versions: dict[str, str]
    sections: tuple[Section, ...]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
