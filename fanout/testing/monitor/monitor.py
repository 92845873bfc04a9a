"""Evaluates the formulas over the records of a trace, one record at a time, in bounded memory.

Rule 1: a clause that needs a field which the trace does not have is not visible, and never counts as kept.
Rule 2: the `run` record comes first of a run; all others are judged by the newest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from fanout.testing.monitor.formulas import DEFINITIONS, FORMULAS, KNOWN
from fanout.testing.monitor.language import Clause, clauses_of, definitions_of
from fanout.testing.monitor.records import NotVisible, Record, never, record_of

VIRTUAL_S: Final = 1e-6  # virtual time is exact but for the rounding of floating-point sums
_MOMENTS: Final = frozenset(
    {
        "drained",
        "signalled",
        "sent",
        "came",
        "read",
        "free",
        "admitted",
        "began",
        "written",
        "left",
        "closed",
        "started",
        "begun",
    }
    | {"ended", "comes", "dead_since"}
)
_TIMES: Final = ("arrived", "came", "began", "left", "closed", "opened")


@dataclass(frozen=True, slots=True)
class Violation:
    """A record of which a formula is not true. of: the request (`w7`), connection, or other record.

    line: of the trace, if it has lines. clause: the broken one; says: its meaning. read: its fields.
    """

    guarantee: str
    of: str
    line: int | None
    says: str
    clause: str
    read: str

    def __str__(self) -> str:
        where = self.of if self.line is None else f"line {self.line}, {self.of}"
        return f"{self.guarantee} {where}: not so: {self.says}: {self.read}"


@dataclass(slots=True)
class Tally:
    """What became of one formula. checked, broken: how often a clause of it was evaluated, and was not true.

    visible: the clauses that were, or that applied to no record. missing: for each clause that could not be,
    the fields that it needs.
    """

    checked: int = 0
    broken: int = 0
    visible: set[str] = field(default_factory=set)
    missing: dict[str, set[str]] = field(default_factory=dict)

    def not_asked(self, clause: Clause, about: Record, run: Record) -> None:
        """The clause does not apply to this record. Could it be evaluated if it did?"""
        if clause.text in self.visible or clause.text in self.missing:
            return
        of = {clause.name: about.__dict__, "run": run.__dict__}
        lacks = {field for name, field in clause.read if name in of and field not in of[name]}
        if lacks:
            self.missing[clause.text] = lacks
        else:
            self.visible.add(clause.text)

    @property
    def unseen(self) -> list[str]:
        """The fields for want of which a clause was never evaluated."""
        return sorted(
            {name for clause, names in self.missing.items() if clause not in self.visible for name in names}
        )

    @property
    def word(self) -> str:
        """`broken`, `kept`, `kept in part` (some clause was not visible), `no case`, or `not visible`."""
        if self.broken:
            return "broken"
        if not self.checked:
            return "no case" if self.visible else "not visible"
        return "kept in part" if self.unseen else "kept"


class Monitor:
    """`tallies`: by guarantee. Times are virtual until `use_real_clock`."""

    def __init__(self) -> None:
        self.tallies = {guarantee: Tally() for guarantee in FORMULAS}
        self._allowance_s = 0.0
        self._rounding_s = VIRTUAL_S
        self._run = Record({"stalls": []})

    def use_real_clock(self, allowance_s: float, rounding_s: float) -> None:
        """allowance_s: how long "at once" may take. rounding_s: of the times."""
        self._allowance_s, self._rounding_s = allowance_s, rounding_s

    def check(self, record: Mapping[str, Any], line: int | None = None) -> Iterator[Violation]:
        """Every violation by this record. line: where it stands in the trace."""
        kind, about = record["kind"], record_of(record)
        if kind == "run":
            self._run = about
        instant = self._rounding_s
        lag = instant + self._stood_still_s(kind, about)
        known = (self._run, instant, lag, lag + self._allowance_s)
        for guarantee, clause in _clauses(kind):
            tally = self.tallies[guarantee]
            elements = [None]
            try:
                if clause.of is not None:
                    elements = clause.of(about)
            except NotVisible as missing:
                tally.missing.setdefault(clause.text, set()).add(str(missing))
                continue
            for element in elements:
                try:
                    if clause.condition is not None and not clause.condition(about, element, *known):
                        tally.not_asked(clause, about, self._run)
                        continue
                    is_kept = clause.claim(about, element, *known)
                except NotVisible as missing:
                    tally.missing.setdefault(clause.text, set()).add(str(missing))
                    continue
                tally.checked += 1
                tally.visible.add(clause.text)
                if not is_kept:
                    tally.broken += 1
                    of, read = str(record.get("id", kind)), _read(clause, about, element, self._run)
                    yield Violation(guarantee, of, line, clause.says, clause.text, read)

    def _stood_still_s(self, kind: str, about: Record) -> float:
        """For how long the event loop stood still while it lasted, as far as the trace says."""
        stalls = self._run.__dict__.get("stalls", ())
        if not stalls:
            return 0.0
        if kind != "request":
            return float(sum(to - began for began, to in stalls))
        times = [about.__dict__.get(name, never) for name in _TIMES]
        times += [call.__dict__.get("ended", never) for call in about.__dict__.get("calls", ())]
        first = min(times[:2])
        last = max((time for time in times if time < never), default=first)
        return float(
            sum(
                to - began
                for began, to in stalls
                if began <= last + self._rounding_s and to >= first - self._rounding_s
            )
        )


@cache
def _clauses(kind: str) -> tuple[tuple[str, Clause], ...]:
    return tuple(pair for pair in all_clauses() if pair[1].kind == kind)


@cache
def all_clauses() -> tuple[tuple[str, Clause], ...]:
    """Every clause with the guarantee that it belongs to."""
    defined = definitions_of(DEFINITIONS)
    return tuple(
        (guarantee, clause)
        for guarantee, formula in FORMULAS.items()
        for clause in clauses_of(formula, KNOWN, defined)
    )


def violations_of(records: Iterable[Mapping[str, Any]]) -> list[Violation]:
    """Those of a whole simulated trace."""
    monitor = Monitor()
    return [violation for record in records for violation in monitor.check(record)]


def _read(clause: Clause, about: Record, element: Record | None, run: Record) -> str:
    """What the clause has read, and when what happened. Times of a request are seconds after its arrival."""
    arrived = about.__dict__.get("arrived", never) if clause.kind == "request" else never
    reads = {pair: None for pair in clause.read if pair[1] not in ("calls", "arrived", "id")}
    if clause.kind == "request":
        reads |= dict.fromkeys([(clause.name, "began"), (clause.name, "left")])
    said = [] if arrived == never else [f"{clause.name}.arrived={arrived:.6f}"]
    of = {clause.name: about, clause.inner: element, "run": run}
    for name, attribute in reads:
        value = getattr(of[name], "__dict__", {}).get(attribute, "unknown")
        said.append(f"{name}.{attribute}={_shown(value, arrived if attribute in _MOMENTS else never)}")
    if clause.kind == "request" and (calls := about.__dict__.get("calls")):
        ends = [(call.__dict__.get("outcome"), _shown(call.__dict__.get("ended"), arrived)) for call in calls]
        said.append(f"calls: {', '.join(f'{outcome} {ended}' for outcome, ended in ends)}")
    return ", ".join(said)


def _shown(value: Any, since: float = never) -> str:
    """since: a time is shown as seconds after it, unless it is `never`."""
    if isinstance(value, float):
        if value == never:
            return "never"
        text = f"{value if since == never else value - since:.6f}".rstrip("0").rstrip(".")
        return text if since == never or value < since else f"+{text}"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)
