"""The command `fanout simulate`: many simulation runs, and whether every guarantee was kept."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NoReturn, TextIO

import click

from fanout.process.exits import DONE, FAILED, NO
from fanout.testing.world.met import MOST_PER_RUN, SITUATIONS, missed
from fanout.testing.world.processes import processes_option
from fanout.testing.world.replay import TRACE
from fanout.testing.world.sweep import SeedReport, sweep

_SHOWN = 5


@click.command("simulate")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    metavar="COUNT",
    help="How many simulation runs.",
)
@click.option(
    "--first-seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="NUMBER",
    help="The first seed.",
)
@click.option(
    "--requests",
    type=click.IntRange(1, 5000),
    default=1000,
    show_default=True,
    metavar="COUNT",
    help="Requests per run. A graceful shutdown in the middle of a run leaves some unsent.",
)
@processes_option
@click.option("--trace", type=TRACE, metavar="PATH", help="Write all runs here, for `fanout check-trace`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(
    seeds: int, first_seed: int, requests: int, processes: int, trace: TextIO | None, as_json: bool
) -> None:
    """Run the whole server in a simulation and check every guarantee.

    Each simulation run is drawn from its seed: clients, upstreams, the network, a graceful shutdown. The
    same seed is the same run, on any machine. Every guarantee is checked on every request, twice: by the
    judge, with an oracle that knows which answers are allowed, and by the monitor, which evaluates the
    formulas of docs/guarantees.md. Exit code 1 if a guarantee was broken, if only one of the two has seen it,
    or if a situation, such as an answer at the deadline, did not occur although there were enough requests:
    then nothing was proved about it.

    \b
    Example:
      fanout simulate --seeds 1000 --requests 1000
    """
    runs = range(first_seed, first_seed + seeds)
    reports = sweep(runs, requests, min(processes, seeds), traced=trace is not None)
    if trace is not None:
        reports = _written(reports, trace)
    try:
        if sys.stderr.isatty():
            with click.progressbar(reports, length=seeds, label="runs", file=sys.stderr) as progress:
                reports = iter(list(progress))
        ordered = sorted(reports, key=lambda report: report.seed)
    except BrokenProcessPool:
        click.echo("fanout simulate: a process was killed, perhaps for want of memory: use fewer", err=True)
        sys.exit(FAILED)
    _finish(ordered, requests, as_json=as_json)


def _written(reports: Iterator[SeedReport], trace: TextIO) -> Iterator[SeedReport]:
    """The reports, once the trace of each is in the file."""
    try:
        with trace:
            for report in reports:
                trace.write(report.trace)
                yield dataclasses.replace(report, trace="")
    except OSError as error:
        click.echo(f"fanout simulate: --trace {trace.name!r} cannot be written: {error.strerror}", err=True)
        sys.exit(FAILED)


def _finish(reports: list[SeedReport], requests: int, *, as_json: bool) -> NoReturn:
    summary = _summary(reports)
    if as_json:
        click.echo(json.dumps(summary, indent=2))
    else:
        _say(summary, reports, requests)
    sys.exit(NO if summary["violations"] or summary["disagreements"] or summary["missed"] else DONE)


def _summary(reports: list[SeedReport]) -> dict[str, Any]:
    cpu_s = sum(report.cpu_s for report in reports)
    asked = sum(report.requests for report in reports)
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.met)
    varied = sum(min(report.requests, MOST_PER_RUN) for report in reports)
    return {
        "requests": asked,
        "seeds": len(reports),
        "violations": sum(report.broken for report in reports),
        "runs": {
            "seed": [report.seed for report in reports],
            "requests": [report.requests for report in reports],
            "violations": [report.broken for report in reports],
            "cpu_s": [round(report.cpu_s, 3) for report in reports],
        },
        "failing_seeds": [
            dataclasses.asdict(report) for report in reports if report.violations or report.formulas
        ],
        "disagreements": [report.seed for report in reports if report.disagree],
        "met": {name: counts[name] for name in SITUATIONS},
        "due": sum(within <= varied for within in SITUATIONS.values()),
        "missed": missed(counts, varied),
        "cpu_s": round(cpu_s, 1),
        "requests_per_cpu_hour": round(asked / cpu_s * 3600) if cpu_s else 0,
    }


def _say(summary: dict[str, Any], reports: list[SeedReport], requests: int) -> None:
    click.echo(
        f"{summary['requests']:,} requests in {summary['seeds']:,} simulation runs: "
        f"{summary['violations']:,} with a broken guarantee; "
        f"{summary['requests_per_cpu_hour']:,} requests per CPU-hour"
    )
    click.echo(
        "the judge and the monitor agree on every run"
        if not summary["disagreements"]
        else f"the judge and the monitor disagree on {len(summary['disagreements']):,} runs"
    )
    click.echo(
        f"situations that were met; so many requests must meet {summary['due']} of these {len(SITUATIONS)}:"
    )
    for name, count in summary["met"].items():
        click.echo(f"  {count:>9,}  {name}")
    for name in summary["missed"]:
        click.echo(f"not met, though {SITUATIONS[name]:,} requests always do: {name}")
    broken = [report for report in reports if report.violations or report.formulas]
    for report in broken[:_SHOWN]:
        click.echo(f"\nseed {report.seed}: {report.broken} of {report.requests} requests")
        for violation in report.violations[:_SHOWN]:
            click.echo(f"  {violation}")
        formulas = ", ".join(f"{name} ({count}x)" for name, count in report.formulas.items())
        click.echo(f"  broken formulas, by the monitor: {formulas or 'none'}")
        click.echo(f"  replay it: fanout replay --seed {report.seed} --requests {requests}")
    if len(broken) > _SHOWN:
        click.echo(f"\nand {len(broken) - _SHOWN} more runs; --json lists them")
