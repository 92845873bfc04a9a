"""An experiment as text for a terminal: it fits 100 columns, and has no colour when it is piped."""

from __future__ import annotations

from textwrap import wrap
from typing import Final

import click

from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.timeline import drawn

COLUMNS: Final = 100
_HEAD: Final = 64
_INDENT: Final = " " * 4
_LABEL: Final = 7


def text_of(experiment: Experiment, report: Report) -> str:
    verdict = (
        click.style("kept", fg="green") if report.is_kept else click.style("BROKEN", fg="red", bold=True)
    )
    claim = f"{experiment.claim}{' (virtual time)' if experiment.is_virtual else ''}"
    lines = [f"{experiment.id:<4}{claim:<{_HEAD - 4}}{verdict}"]
    for done in report.done:
        lines += _labelled("done", done)
    lines += [f"{_INDENT}{line}"[:COLUMNS] for line in drawn(report.lanes)]
    for seen in report.seen:
        mark = "" if seen.holds else click.style("  <- broken", fg="red")
        lines += _labelled("seen", f"{seen.by}: {seen.text}{mark}")
    lines += _labelled("code", experiment.code)
    lines += _labelled("test", experiment.test)
    if experiment.breakages:
        lines += _labelled("break", ", ".join(experiment.breakages))
    return "\n".join(lines)


def _labelled(label: str, text: str) -> list[str]:
    room = COLUMNS - len(_INDENT) - _LABEL
    first, *rest = wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return [f"{_INDENT}{label:<{_LABEL}}{first}", *(f"{_INDENT}{'':<{_LABEL}}{line}" for line in rest)]
