"""An experiment as text for a terminal: it fits 100 columns, and has no colour when it is piped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import fill, wrap
from typing import Final

import click

from fanout.lab.experiment import Experiment
from fanout.lab.report import Report, Seen
from fanout.lab.run import Result
from fanout.lab.timeline import drawn

COLUMNS: Final = 100
_HEAD: Final = 64
_INDENT: Final = " " * 4
_LABEL: Final = 7
_BROKEN: Final = "BROKEN"


def text_of(experiment: Experiment, report: Report) -> str:
    """Everything about an experiment except its article."""
    verdict = click.style("kept", fg="green") if report.is_kept else _broken()
    lines = [f"{experiment.id:<4}{experiment.claim:<{_HEAD - 4}}{verdict}"]
    for done in report.done:
        lines += _labelled("done", done)
    lines += [f"{_INDENT}{line}"[:COLUMNS] for line in drawn(report.lanes)]
    lines += _seen(report.seen)
    lines += _labelled("code", experiment.code)
    lines += _labelled("test", experiment.test)
    if experiment.breakages:
        lines += _labelled("break", ", ".join(experiment.breakages))
    return "\n".join(lines)


def article_of(experiment: Experiment) -> str:
    """The article as `--explain` prints it."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in experiment.article.strip().split("\n\n")]
    wrapped = [fill(each, COLUMNS, break_long_words=False, break_on_hyphens=False) for each in paragraphs]
    title = click.style(f"{experiment.id} {experiment.title}", bold=True)
    where = [*_labelled("code", experiment.code), *_labelled("test", experiment.test)]
    return "\n\n".join([title, *wrapped, "\n".join(where)])


def summary_of(results: Sequence[Result]) -> str:
    """One line for all of them."""
    kept = sum(result.report.is_kept for result in results)
    took_s = sum(result.took_ms for result in results) / 1000
    broken = ", ".join(result.experiment.id for result in results if not result.report.is_kept)
    return f"{kept} of {len(results)} kept in {took_s:.1f} s" + (f"; broken: {broken}" if broken else "")


def _seen(seen: Sequence[Seen]) -> Iterator[str]:
    """A line for each, in their order. One that broke the guarantee begins with BROKEN."""
    width = max((len(each.by) for each in seen), default=0)
    last: Seen | None = None
    for each in seen:
        is_new = last is None or (last.by, last.holds) != (each.by, each.holds)
        label = "" if last is not None and last.holds else "seen"
        label = f"{label:<{_LABEL}}" if each.holds else f"{_broken()} "
        by = each.by if is_new or not each.holds else ""
        first, *rest = wrap(each.text, COLUMNS - len(_INDENT) - _LABEL - width - 2, break_on_hyphens=False)
        yield f"{_INDENT}{label}{by:<{width}}  {first}"
        yield from (f"{_INDENT}{'':<{_LABEL + width + 2}}{line}" for line in rest)
        last = each


def _broken() -> str:
    return click.style(_BROKEN, fg="red", bold=True)


def _labelled(label: str, text: str) -> list[str]:
    room = COLUMNS - len(_INDENT) - _LABEL
    first, *rest = wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return [f"{_INDENT}{label:<{_LABEL}}{first}", *(f"{_INDENT}{'':<{_LABEL}}{line}" for line in rest)]
