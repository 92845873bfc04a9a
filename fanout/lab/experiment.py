"""An experiment: a claim, the actions on the server, and where its code, test and breakages are.

One module of `fanout.lab.experiments` per guarantee. Its docstring is the article that `--explain` prints.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fanout.lab.report import Report
from fanout.lab.setup import Setup


@dataclass(frozen=True, slots=True)
class Experiment:
    """One guarantee, shown.

    id: `G4`. title: of the guarantee. claim: a few words that the experiment puts to the test.
    code: file and name to read. test: the test that holds it, as pytest names it. breakages: names of those
    that must turn it red. run: adds what is done and seen to the report, as it goes. article: for people who
    want to know more. is_virtual: a part of it runs in virtual time.
    """

    id: str
    title: str
    claim: str
    code: str
    test: str
    breakages: tuple[str, ...]
    run: Callable[[Setup, Report], Awaitable[None]]
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
