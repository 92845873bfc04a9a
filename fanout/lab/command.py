"""The command `fanout lab`: experiments in, exit code out.

Exit codes: 0 every guarantee that was tried was kept; 1 one was broken; 2 bad usage; 3 it could not finish.
"""

from __future__ import annotations

import json
import sys

import click

from fanout.lab.experiment import Experiment
from fanout.lab.experiments import EXPERIMENTS
from fanout.lab.run import Interrupted, Result, run_experiments
from fanout.lab.setup import CannotRun
from fanout.lab.text import summary_of, text_of
from fanout.process.exits import DONE, FAILED, NO, SIGNALLED


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
    progress = Progress(not as_json)
    try:
        results = run_experiments(chosen, begun=progress.begun, ended=progress.ended)
    except CannotRun as error:
        progress.clear()
        click.echo(f"fanout lab: {error}", err=True)
        sys.exit(FAILED)
    except Interrupted as signal:
        progress.clear()
        sys.exit(SIGNALLED + signal.number)
    if as_json:
        click.echo(json.dumps({"experiments": [result.to_json() for result in results]}, indent=2))
    else:
        click.echo(summary_of(results))
    sys.exit(DONE if all(result.report.is_kept for result in results) else NO)


def _chosen(names: tuple[str, ...]) -> list[Experiment]:
    unknown = [name for name in names if name.upper() not in EXPERIMENTS]
    if unknown:
        raise click.BadParameter(f"there is no experiment {unknown[0]!r}: there are {', '.join(EXPERIMENTS)}")
    return [EXPERIMENTS[name.upper()] for name in names] or list(EXPERIMENTS.values())


class Progress:
    """Each result as soon as it is there; before that, on a terminal, which experiment is running."""

    def __init__(self, says: bool) -> None:
        """says: print results."""
        self._says = says
        self._is_live = sys.stderr.isatty()

    def begun(self, experiment: Experiment) -> None:
        if self._is_live:
            click.echo(f"\r\033[K{experiment.id:<4}{experiment.claim} ...", err=True, nl=False)

    def ended(self, result: Result) -> None:
        self.clear()
        if self._says:
            click.echo(text_of(result.experiment, result.report) + "\n")

    def clear(self) -> None:
        if self._is_live:
            click.echo("\r\033[K", err=True, nl=False)
