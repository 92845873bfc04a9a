"""One figure of several servers, compared: which peer is the best, and is fanout better or worse than it?

Everything is computed from the samples of one run. A figure with a remark ("not trusted: …") never stands
without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Literal

from benchmarks.contenders import FANOUT_NAME, GO_NAME
from benchmarks.section import Figure, figure, remarked

NOT_TRUSTED = "not trusted"  # how a remark begins that takes a peer's figure out of the choice of the best
STANDARD_ERRORS = 2.0  # a difference smaller than so many is none
LEAST_MARGIN = 0.02  # and so is one smaller than this, whatever its error
MARGIN_OF_ONE = 0.05  # of one sample, which tells no error

Verdict = Literal["worse", "no clear difference", "better", "not known"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """samples: of each server, by round; those of a round belong together. remarks: of a server's figure.

    of_run: a remark on all of them. ours: the row of fanout that is compared; peers are all that do not begin
    with `fanout`.
    """

    label: str
    unit: str
    samples: Mapping[str, Sequence[float]]
    remarks: Mapping[str, str] = field(default_factory=dict)
    of_run: str = ""
    more_is_better: bool = False
    digits: int = 0
    ours: str = FANOUT_NAME

    def value(self, name: str) -> float:
        return figure(self.samples[name]).value

    def shown(self, name: str) -> str:
        """With its unit, without its remark."""
        return f"{self.value(name):,.{self.digits}f} {self.unit}".rstrip()

    def remark(self, name: str) -> str:
        return "; ".join(filter(None, (self.remarks.get(name, ""), self.of_run)))

    def is_trusted(self, name: str) -> bool:
        return not self.remarks.get(name, "").startswith(NOT_TRUSTED)

    def peers(self) -> list[str]:
        """Those in Python."""
        return [name for name in self.samples if not name.startswith(FANOUT_NAME) and name != GO_NAME]

    def best_peer(self) -> str | None:
        """The best in Python whose figure is trusted; if none is, the best of all; `None` without any."""
        trusted = [name for name in self.peers() if self.is_trusted(name)]
        choose = max if self.more_is_better else min
        return choose(trusted or self.peers(), key=self.value, default=None)

    def go(self) -> str | None:
        return GO_NAME if GO_NAME in self.samples else None

    def ratio(self, peer: str) -> Figure | None:
        """fanout's to the peer's, round by round. `None` if the peer's is nothing, or if one is infinite."""
        return self.ratio_to(self.ours, peer)

    def ratio_to(self, name: str, base: str) -> Figure | None:
        """The same of any two. `None` also if there is no such base."""
        pairs = list(zip(self.samples[name], self.samples.get(base, ()), strict=False))
        if not pairs or not all(its and isfinite(mine + its) for mine, its in pairs):
            return None
        return figure([mine / its for mine, its in pairs])

    def verdict(self, peer: str) -> Verdict:
        if not (self.is_trusted(self.ours) and self.is_trusted(peer)):
            return "not known"
        found = self.ratio(peer)
        if found is None:
            less, same = self.value(self.ours) < self.value(peer), self.value(self.ours) == self.value(peer)
        else:
            margin = margin_of(found)
            less, same = found.value < 1, abs(found.value - 1) <= margin
        if same:
            return "no clear difference"
        return "better" if less != self.more_is_better else "worse"

    def cell(self, peer: str | None, *, named: bool = False) -> tuple[str, str]:
        """A peer's figure and the ratio to it, for a table: "–" if there is none."""
        if peer is None:
            return "–", "–"
        shown = f"{self.shown(peer)} ({peer})" if named else self.shown(peer)
        return shown, shown_ratio(self.ratio(peer))

    def all_remarks(self, *names: str | None) -> str:
        """Of these figures, each with its server, and that of the run."""
        named = [name for name in names if name is not None]
        its = {name: remark for name in named if (remark := self.remarks.get(name, ""))}
        if len(set(its.values())) == 1 and len(its) == len(named):
            own = [next(iter(its.values()))]
        else:
            own = [f"{name}: {remark}" for name, remark in its.items()]
        return "; ".join([*own, *([self.of_run] if self.of_run else [])])

    def against(self, peer: str) -> str:
        """The ratio to a peer, with every remark on either figure; the figures if there is no ratio."""
        found = self.ratio(peer)
        shown = f"{self.shown(self.ours)} against {self.shown(peer)}" if found is None else shown_ratio(found)
        return remarked(shown, self.all_remarks(self.ours, peer))


def margin_of(ratio: Figure) -> float:
    """How far from 1 a ratio may be and still be no difference."""
    if isnan(ratio.error):
        return MARGIN_OF_ONE
    return max(STANDARD_ERRORS * ratio.error, LEAST_MARGIN)


def shown_ratio(ratio: Figure | None) -> str:
    if ratio is None:
        return "–"
    return f"{ratio.value:.2f}" if isnan(ratio.error) else str(ratio)
