"""The outcome of an experiment: what was done, what was seen and where, and the verdict that follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fanout.lab.timeline import Lane

By = Literal["client", "wire", "kernel", "leak check", "pool", "log", "server", "virtual time"]
"""Where something was seen. wire: by the simulated upstream. kernel: in /proc, of the server's process."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One observation. text: what was seen, with its number and unit, not what was expected."""

    by: By
    text: str
    holds: bool


@dataclass(slots=True)
class Report:
    """The outcome of an experiment. done: sentences without a full stop. Kept: every observation holds."""

    done: list[str] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def see(self, by: By, text: str, holds: bool) -> None:
        self.seen.append(Seen(by, text, holds))

    @property
    def is_kept(self) -> bool:
        """A report without observations has shown nothing, so it is not kept."""
        return bool(self.seen) and all(seen.holds for seen in self.seen)

    def extend(self, other: Report) -> None:
        """Add what was seen in another part of the same experiment."""
        self.done += other.done
        self.lanes += other.lanes
        self.seen += other.seen

    @classmethod
    def from_json(cls, report: Any) -> Report:
        lanes = [Lane(**lane) for lane in report["timeline"]]
        return cls(report["done"], lanes, [Seen(**seen) for seen in report["seen"]])

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": self.is_kept,
            "done": self.done,
            "timeline": [lane.to_json() for lane in self.lanes],
            "seen": [{"by": seen.by, "text": seen.text, "holds": seen.holds} for seen in self.seen],
        }
