"""The command `fanout lab`: experiments in, exit code out.

Exit codes: 0 every guarantee that was tried was kept; 1 one was broken; 2 bad usage; 3 it could not finish,
or an experiment did not see a breakage that it must see.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from fanout.lab import broken
from fanout.lab.experiment import Experiment
from fanout.lab.experiments import EXPERIMENTS
from fanout.lab.run import Interrupted, Result, run_experiments
from fanout.lab.setup import CannotRun
from fanout.lab.text import article_of, summary_of, text_of
from fanout.process.exits import DONE, FAILED, NO, REFUSED, SIGNALLED
from fanout.testing.breakages.patches import Breakage, breakages


def _known_breakage(context: click.Context, parameter: click.Parameter, name: str | None) -> Breakage | None:
    if name is not None and name not in breakages():
        names = ", ".join(breakage.name for breakage in broken.in_order())
        raise click.BadParameter(f"there is no breakage {name!r}: there are {names}")
    return None if name is None else breakages()[name]


def _complete_breakages(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [
        CompletionItem(name, help=breakage.title)
        for name, breakage in breakages().items()
        if name.startswith(incomplete)
    ]


def _complete_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Experiments that are not given yet. `asyncio` is a command of its own, so it can only come first."""
    given = {name.upper() for name in context.params.get("names") or ()}
    offered = [
        CompletionItem(name, help=experiment.claim)
        for name, experiment in EXPERIMENTS.items()
        if name not in given
    ]
    if not given:
        offered.append(CompletionItem("asyncio", help="asyncio beside Trio"))
    return [item for item in offered if item.value.lower().startswith(incomplete.lower())]


def _complete_files(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def _complete_folders(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="dir")]


class Lab(click.Command):
    """The experiments, unless the first argument is `asyncio`: that is a command of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["asyncio"]:
            from fanout.lab.side_by_side.command import asyncio_command

            asyncio_command.context_class = self.context_class
            return asyncio_command.make_context(f"{info_name} asyncio", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command("lab", cls=Lab)
@click.argument("names", nargs=-1, metavar="[G1 ... G12]", shell_complete=_complete_names)
@click.option("--explain", is_flag=True, help="Print an article about each experiment, and run nothing.")
@click.option(
    "--break",
    "breakage",
    metavar="NAME",
    callback=_known_breakage,
    shell_complete=_complete_breakages,
    help="Make this mistake in the server, in memory, and run the experiments that must see it.",
)
@click.option(
    "--breakages",
    "lists",
    is_flag=True,
    help="List the mistakes, and the experiments that must see each of them.",
)
@click.option(
    "--try",
    "target",
    metavar="FILE.py:FUNCTION",
    shell_complete=_complete_files,
    help="Execute your own `async def first(calls, timeout)` in the situations of `fanout lab asyncio`: on"
    " Trio if its file imports Trio, else on asyncio. A name that begins with `all` means those of /api/all.",
)
@click.option(
    "--html",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    shell_complete=_complete_folders,
    help="Run everything, including the matrix of `fanout lab asyncio`, and write the results into a new"
    " folder, as a page.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def lab(
    names: tuple[str, ...],
    explain: bool,
    breakage: Breakage | None,
    lists: bool,
    target: str | None,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Show every guarantee as an experiment against the real server.

    Each experiment starts the server in a process of its own with a simulated upstream, does something to it,
    and shows what the client, the upstream, the kernel and the leak check saw. Without a name, it runs all
    twelve, within a minute.

    \b
    Examples:
      fanout lab                 every guarantee
      fanout lab G4 G7           some of them
      fanout lab G7 --explain    an article about one of them
      fanout lab asyncio         asyncio beside Trio: the same race, written in twelve ways
      fanout lab --try mine.py:first
      fanout lab --html pages    all of it, for a browser
      fanout lab --breakages     the mistakes that turn an experiment red, such as:
      fanout lab --break losers_not_cancelled
      fanout lab --break socket_left_open
      fanout lab --break await_in_pool_clean_up
      fanout lab --break verdict_from_cancelled_caught
      fanout lab --break bug_lost_in_group
    """
    _check_flags(
        {"--breakages": lists, "--explain": explain, "--break": breakage, "--try": target, "--html": folder},
        bool(names),
    )
    if lists:
        click.echo(broken.list_of_breakages())
        sys.exit(DONE)
    if target is not None:
        from fanout.lab.side_by_side.try_it import run_try

        sys.exit(run_try(target, as_json))
    chosen = _chosen(names) if names or breakage is None else broken.must_see(breakage)
    if explain:
        click.echo("\n\n\n".join(map(article_of, chosen)))
        sys.exit(DONE)
    if breakage is not None and not as_json:
        click.echo(broken.introduction(breakage))
    if folder is not None:
        _write_pages(folder, chosen)
    results = _run(chosen, None if breakage is None else breakage.name, Progress(not as_json))
    if as_json:
        about = {} if breakage is None else broken.to_json(breakage, results)
        click.echo(json.dumps({**about, "experiments": [r.to_json() for r in results]}, indent=2))
    else:
        click.echo(summary_of(results) if breakage is None else broken.conclusion(breakage, results))
    if breakage is not None and broken.missed_by(breakage, results):
        sys.exit(FAILED)
    sys.exit(DONE if all(result.report.is_kept for result in results) else NO)


def _check_flags(given: dict[str, object], has_names: bool) -> None:
    flags = [flag for flag, value in given.items() if value]
    if len(flags) > 1 and flags != ["--explain", "--break"]:
        raise click.UsageError(f"{flags[0]} and {flags[1]} do not go together: give one of them")
    if has_names and flags and flags[0] in ("--breakages", "--try"):
        raise click.UsageError(f"{flags[0]} takes no experiments: leave their names out")


def _run(chosen: list[Experiment], breakage: str | None, progress: Progress) -> list[Result]:
    try:
        return run_experiments(chosen, breakage, begun=progress.begun, ended=progress.ended)
    except CannotRun as error:
        progress.clear()
        click.echo(f"fanout lab: {error}", err=True)
        sys.exit(FAILED)
    except Interrupted as signal:
        progress.clear()
        sys.exit(SIGNALLED + signal.number)


def _write_pages(folder: Path, chosen: list[Experiment]) -> NoReturn:
    from fanout.lab.page.html import FolderError, check_folder, write_pages
    from fanout.lab.side_by_side import matrix

    try:
        check_folder(folder)
        results = _run(chosen, None, Progress(says=False))
        if sys.stderr.isatty():
            click.echo("asyncio beside Trio ...", err=True)
        written = write_pages(folder, [result.to_json() for result in results], matrix.measure().to_json())
    except FolderError as error:
        click.echo(f"fanout lab: --html: {error}", err=True)
        sys.exit(REFUSED)
    click.echo(f"open {written[0]}")
    sys.exit(DONE if all(result.report.is_kept for result in results) else NO)


def _chosen(names: tuple[str, ...]) -> list[Experiment]:
    unknown = [name for name in names if name.upper() not in EXPERIMENTS]
    if unknown:
        raise click.BadParameter(f"there is no experiment {unknown[0]!r}: there are {', '.join(EXPERIMENTS)}")
    return [EXPERIMENTS[name] for name in dict.fromkeys(map(str.upper, names))] or list(EXPERIMENTS.values())


class Progress:
    """Prints each result as soon as it is there, and on a terminal which experiment is running."""

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
