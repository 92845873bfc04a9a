"""The command `fanout check-trace`: what a log, or the trace of a simulation, says of each guarantee."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final

import click

from fanout.process.exits import DONE, NO, REFUSED
from fanout.testing.monitor.monitor import Violation
from fanout.testing.monitor.reading import Reading
from fanout.testing.monitor.receipts import BadLine

_PROGRESS_EVERY_S: Final = 0.5
_LINES_BETWEEN_LOOKS: Final = 1000
_SHOWN_BAD_LINES: Final = 3


@click.command("check-trace")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--allowance-ms",
    type=click.FloatRange(0),
    default=100.0,
    show_default=True,
    metavar="MS",
    help="In a log: how much later than its cause may be what has to happen at once. G2 has no allowance: an "
    "answer is late or it is not.",
)
@click.option(
    "--show",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="COUNT",
    help="How many violations to print. All are counted.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_trace(file: BinaryIO, allowance_ms: float, show: int, as_json: bool) -> None:
    """Check every guarantee in the log of a server.

    FILE is the log that `fanout serve` writes as JSON lines (FANOUT_LOG_FORMAT=json, and without a terminal
    in any case), or the trace that `fanout simulate --trace` writes; - is standard input. Each guarantee is
    one formula (docs/guarantees.md), and each line of the output says whether it was kept, broken, or is not
    visible in this trace: then the log has nothing that could show it. A formula is kept in part if a clause
    of it is not visible.

    \b
    Exit codes:
      0    every formula that is visible holds
      1    a formula is broken: one line for each violation, with the request and its times
      2    FILE cannot be read, has lines that are no log of fanout's, or has no request

    \b
    Example:
      fanout serve 2>fanout.log
      fanout check-trace fanout.log
      zcat fanout.log.*.gz | fanout check-trace - --json
    """
    name = getattr(file, "name", "<stdin>")
    reading = Reading(allowance_s=allowance_ms / 1000)
    first: list[Violation] = []
    bad: list[str] = []
    bad_count = 0
    try:
        for number, line in enumerate(_with_progress(file), 1):
            try:
                first += reading.read(line)[: max(0, show - len(first))]
            except BadLine as error:
                bad_count += 1
                if len(bad) < _SHOWN_BAD_LINES:
                    bad.append(f"line {number}: {error}")
        first += reading.end()[: max(0, show - len(first))]
    except OSError as error:
        click.echo(f"fanout check-trace: {name} cannot be read: {error.strerror}", err=True)
        sys.exit(REFUSED)
    if as_json:
        click.echo(json.dumps(_as_json(reading, first, bad_count), indent=2))
    elif reading.requests:
        _say(reading, first)
    _say_bad(bad, bad_count, reading, name)
    if any(tally.broken for tally in reading.monitor.tallies.values()):
        sys.exit(NO)
    sys.exit(REFUSED if bad_count or not reading.requests else DONE)


def _with_progress(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, and on a terminal how many there were so far."""
    if not sys.stderr.isatty():
        yield from lines
        return
    shown_at = time.monotonic()  # noqa: TID251 - no event loop here
    number = 0
    for number, line in enumerate(lines, 1):
        yield line
        if number % _LINES_BETWEEN_LOOKS == 0:
            now = time.monotonic()  # noqa: TID251 - no event loop here
            if now - shown_at >= _PROGRESS_EVERY_S:
                shown_at = now
                click.echo(f"\r{number:,} lines", nl=False, err=True)
    click.echo(f"\r{' ' * len(f'{number:,} lines')}\r", nl=False, err=True)


def _as_json(reading: Reading, first: list[Violation], bad_lines: int) -> dict[str, Any]:
    return {
        "lines": reading.lines,
        "requests": reading.requests,
        "bad_lines": bad_lines,
        "formulas": {
            guarantee: {
                "result": tally.word,
                "checked": tally.checked,
                "broken": tally.broken,
                "not_visible_without": tally.unseen,
            }
            for guarantee, tally in reading.monitor.tallies.items()
        },
        "violations": [
            {
                "guarantee": violation.guarantee,
                "of": violation.of,
                "line": violation.line,
                "says": violation.says,
                "clause": violation.clause,
                "read": violation.read,
            }
            for violation in first
        ],
    }


def _say(reading: Reading, first: list[Violation]) -> None:
    tallies = reading.monitor.tallies
    click.echo(f"{reading.requests:,} requests in {reading.lines:,} lines")
    for guarantee, tally in tallies.items():
        colour = {"broken": "red", "kept": "green", "kept in part": "green"}.get(tally.word)
        count = f"{tally.broken:,} of {tally.checked:,}" if tally.broken else f"{tally.checked:,}"
        without = f"  not visible without {', '.join(tally.unseen)}" if tally.unseen else ""
        word = click.style(f"{tally.word:<13}", fg=colour)
        click.echo(f"{guarantee:<4} {word} {count if tally.checked else '-':>14}{without}".rstrip())
    for violation in first:
        click.echo(click.style(str(violation), fg="red"))
    broken = sum(tally.broken for tally in tallies.values())
    if broken > len(first):
        click.echo(f"and {broken - len(first):,} more: --show {broken} shows all")


def _say_bad(bad: list[str], count: int, reading: Reading, name: str) -> None:
    for line in bad:
        click.echo(f"fanout check-trace: {name}, {line}", err=True)
    if count > len(bad):
        click.echo(f"fanout check-trace: {name} has {count - len(bad):,} more such lines", err=True)
    if not reading.requests:
        click.echo(
            f"fanout check-trace: {name} says nothing about any request: give the log of `fanout serve` "
            "with FANOUT_LOG_FORMAT=json and FANOUT_LOG_REQUESTS=all",
            err=True,
        )
