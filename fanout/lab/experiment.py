"""What an experiment is: a claim, what was done, what was seen, and a verdict that follows from what was seen.

One module of `fanout.lab.experiments` per guarantee. Its docstring is the article that `--explain` prints.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fanout.lab.timeline import Lane

if TYPE_CHECKING:
    from fanout.lab.setup import Setup

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
    """What came of an experiment. done: sentences without a full stop. It is kept if every observation holds."""

    done: list[str] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def see(self, by: By, text: str, holds: bool) -> None:
        self.seen.append(Seen(by, text, holds))

    @property
    def is_kept(self) -> bool:
        """Nothing seen is nothing shown: that is not kept."""
        return bool(self.seen) and all(seen.holds for seen in self.seen)

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": self.is_kept,
            "done": self.done,
            "timeline": [lane.to_json() for lane in self.lanes],
            "seen": [{"by": seen.by, "text": seen.text, "holds": seen.holds} for seen in self.seen],
        }


@dataclass(frozen=True, slots=True)
class Experiment:
    """One guarantee, shown.

    id: `G4`. title: of the guarantee. claim: a few words that the experiment puts to the test.
    code: file and name to read. test: the test that holds it, as pytest names it. breakages: names of those
    that must turn it red. is_virtual: a part of it runs in virtual time.
    """

    id: str
    title: str
    claim: str
    code: str
    test: str
    breakages: tuple[str, ...]
    run: Callable[[Setup], Awaitable[Report]]
    article: str
    is_virtual: bool = False

    def to_json(self, report: Report, took_ms: float) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "claim": self.claim,
            "virtual": self.is_virtual,
            "took_ms": round(took_ms, 1),
            **report.to_json(),
            "code": self.code,
            "test": self.test,
            "breakages": list(self.breakages),
        }
