"""`fanout lab --break NAME`: the mistake, the experiments that must see it, and which of them did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click

from fanout.lab.experiment import Experiment
from fanout.lab.experiments import EXPERIMENTS
from fanout.lab.run import Result
from fanout.testing.breakages.patches import Breakage, breakages

SHOWN_FIRST: Final = (
    "losers_not_cancelled",
    "socket_left_open",
    "await_in_pool_clean_up",
    "verdict_from_cancelled_caught",
    "bug_lost_in_group",
)
_COLOURS: Final = {"+": "green", "-": "red", "@": "cyan"}


def in_order() -> list[Breakage]:
    """All breakages. The ones that show the most come first."""
    known = breakages()
    return [known[name] for name in (*SHOWN_FIRST, *sorted(known.keys() - set(SHOWN_FIRST)))]


def must_see(breakage: Breakage) -> list[Experiment]:
    """The experiments that it must turn red."""
    return [experiment for experiment in EXPERIMENTS.values() if breakage.name in experiment.breakages]


def list_of_breakages() -> str:
    width = max(map(len, breakages()))
    lines = []
    for breakage in in_order():
        ids = ", ".join(experiment.id for experiment in must_see(breakage))
        lines.append(f"{breakage.name:<{width}}  {ids:<8}  {breakage.title}")
    return "\n".join(lines)


def introduction(breakage: Breakage) -> str:
    """The text before the run: the change to the server as a diff, in colour on a terminal."""
    lines = [f"{breakage.name}: {breakage.title}. No file changes.", ""]
    for line in breakage.diff.splitlines():
        is_name = line.startswith(("--- ", "+++ "))
        lines.append(click.style(line, bold=True) if is_name else _coloured(line))
    ids = ", ".join(experiment.id for experiment in must_see(breakage))
    return "\n".join([*lines, "", f"must turn red: {ids}", ""])


def _coloured(line: str) -> str:
    return click.style(line, fg=_COLOURS[line[0]]) if line[:1] in _COLOURS else line


def missed_by(breakage: Breakage, results: Sequence[Result]) -> list[str]:
    """The experiments that had to see it and did not."""
    by = must_see(breakage)
    return [each.experiment.id for each in results if each.report.is_kept and each.experiment in by]


def conclusion(breakage: Breakage, results: Sequence[Result]) -> str:
    """One line for the experiments that saw it, and one for those that did not."""
    seen = [result.experiment.id for result in results if not result.report.is_kept]
    missed = missed_by(breakage, results)
    lines = [f"{breakage.name} was seen by {', '.join(seen)}"] if seen else []
    if missed:
        line = f"{breakage.name} was NOT SEEN by {', '.join(missed)}: the lab is blind to it"
        lines.append(click.style(line, fg="red", bold=True))
    elif not seen:
        ids = ", ".join(experiment.id for experiment in must_see(breakage))
        lines.append(f"{breakage.name} is not what these experiments look for: {ids} must see it")
    return "\n".join(lines)


def to_json(breakage: Breakage, results: Sequence[Result]) -> dict[str, Any]:
    return {
        "breakage": {
            "name": breakage.name,
            "title": breakage.title,
            "breaks": list(breakage.guarantees),
            "diff": breakage.diff,
        },
        "must_turn_red": [experiment.id for experiment in must_see(breakage)],
        "seen_by": [result.experiment.id for result in results if not result.report.is_kept],
        "missed_by": missed_by(breakage, results),
    }
