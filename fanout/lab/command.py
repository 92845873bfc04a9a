"""The command `fanout lab`: experiments in, exit code out.

Exit codes: 0 every guarantee that was tried was kept; 1 one was broken; 2 bad usage; 3 it could not finish.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import click
import trio

from fanout.lab.experiment import Experiment
from fanout.lab.experiments import EXPERIMENTS
from fanout.lab.report import Report
from fanout.lab.setup import Setup
from fanout.lab.text import text_of
from fanout.process.exits import DONE, NO


@click.command("lab")
@click.argument("names", nargs=-1, metavar="[G1 ... G12]")
@click.option(
    "--explain", is_flag=True, help="Print what the experiment is about, as an article, and run nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def lab(names: tuple[str, ...], explain: bool, as_json: bool) -> None:
    """See every guarantee hold, as experiments against the real server.

    Each starts the server in a process of its own with a simulated upstream, does something to it, and shows
    what the client, the upstream, the kernel and the leak check saw. No name: all twelve, within a minute.

    \b
    Examples:
      fanout lab                 every guarantee
      fanout lab G4 G7           some of them
      fanout lab G7 --explain    what it is about
    """
    chosen = _chosen(names)
    if explain:
        click.echo("\n\n".join(f"{e.id} {e.title}\n\n{e.article.strip()}" for e in chosen))
        sys.exit(DONE)
    results = trio.run(_run, chosen, not as_json)
    if as_json:
        click.echo(
            json.dumps(
                {"experiments": [e.to_json(report, took_ms) for e, report, took_ms in results]}, indent=2
            )
        )
    sys.exit(DONE if all(report.is_kept for _, report, _ in results) else NO)


def _chosen(names: tuple[str, ...]) -> list[Experiment]:
    unknown = [name for name in names if name.upper() not in EXPERIMENTS]
    if unknown:
        raise click.BadParameter(f"there is no experiment {unknown[0]!r}: there are {', '.join(EXPERIMENTS)}")
    return [EXPERIMENTS[name.upper()] for name in names] or list(EXPERIMENTS.values())


async def _run(chosen: list[Experiment], says: bool) -> list[tuple[Experiment, Report, float]]:
    results: list[Any] = []
    async with Setup() as setup:
        for experiment in chosen:
            began_at = trio.current_time()
            report = await experiment.run(setup)
            results.append((experiment, report, (trio.current_time() - began_at) * 1000))
            if says:
                click.echo(text_of(experiment, report))
    return results
