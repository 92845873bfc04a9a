"""The command `fanout prove`: every schedule to a bound, and whether every guarantee was kept in each."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NoReturn

import click

from fanout.process.exits import DONE, FAILED, NO, SIGNALLED
from fanout.testing.prove.choices import NoSuchChoice, Schedule, schedule_of, text_of
from fanout.testing.prove.failure import command, first_difference, line_of, nearest_passing, shown, shrunk
from fanout.testing.prove.scenarios import SCENARIOS, TITLES
from fanout.testing.prove.search import Failing, Level, Part, levels
from fanout.testing.prove.world import Proved
from fanout.testing.prove.world import prove as run_once
from fanout.testing.world.processes import Processes, processes_option

_WIDTH: Final = max(map(len, SCENARIOS))


@dataclass(slots=True)
class Tally:
    """The runs of one scenario. runs: by the number of deviations. choices: the most that one run had."""

    runs: Counter[int] = field(default_factory=Counter)
    choices: int = 0
    states: set[int] = field(default_factory=set)
    traces: set[int] = field(default_factory=set)

    def add(self, part: Part) -> None:
        self.runs[part.deviations] += part.runs
        self.choices = max(self.choices, part.choices)
        self.states |= part.states
        self.traces |= part.traces

    def as_json(self) -> dict[str, Any]:
        return {
            "runs": self.runs.total(),
            "runs_by_deviations": [self.runs[number] for number in sorted(self.runs)],
            "choices": self.choices,
            "states": len(self.states),
            "traces": len(self.traces),
        }


def _schedule(context: click.Context, parameter: click.Parameter, text: str | None) -> Schedule | None:
    try:
        return None if text is None else schedule_of(text)
    except ValueError as error:
        raise click.UsageError(f"--schedule {text!r}: {error}") from None


@click.command("prove")
@click.option(
    "--deviations",
    type=click.IntRange(0, 6),
    default=2,
    show_default=True,
    metavar="COUNT",
    help="The bound: how many deviations a schedule has at most. One more takes about 60 times as long.",
)
@click.option(
    "--scenario",
    "scenarios",
    type=click.Choice(list(SCENARIOS)),
    multiple=True,
    metavar="NAME",
    help=f"Only this scenario. Repeatable. One of {', '.join(SCENARIOS)}.  [default: all]",
)
@click.option(
    "--schedule",
    callback=_schedule,
    metavar="LIST",
    help="Run only this schedule, and show it: deviations such as '41:c0.fin,57:2nd'.",
)
@processes_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def prove(
    deviations: int, scenarios: tuple[str, ...], schedule: Schedule | None, processes: int, as_json: bool
) -> None:
    """Run the whole server in small simulations, in every way up to a bound, and check every guarantee.

    `fanout simulate` draws runs by chance. This command leaves nothing to it: a run is a list of choices, and
    every list with at most so many deviations from the usual one is run and judged. A deviation is another
    task that runs next, or an interruption at that moment: the client disconnects (fin, rst), the task of its
    connection is cancelled (cancel), the race's deadline comes (deadline), the server gets SIGTERM (sigterm).

    A schedule that breaks a guarantee is shown with the fewest deviations, next to the most similar one that
    breaks none. Exit code 1 if there is one.

    \b
    Example:
      fanout prove                                      the whole bound, some minutes
      fanout prove --deviations 1                       seconds
      fanout prove --scenario pipelined --schedule '20:c0.fin'
    """
    if schedule is not None:
        if len(scenarios) != 1:
            raise click.UsageError("--schedule: name the one --scenario that it belongs to")
        _show_one(scenarios[0], schedule, as_json=as_json)
    names = [name for name in SCENARIOS if not scenarios or name in scenarios]
    _search(names, deviations, processes, as_json=as_json)


def _search(names: list[str], deviations: int, count: int, *, as_json: bool) -> NoReturn:
    tallies = {name: Tally() for name in names}
    failing = None
    began_at = time.monotonic()  # noqa: TID251 - no event loop here
    try:
        with _interruptible(), Processes(count) as processes:
            for level in levels(names, deviations, processes):
                failing = _run(level, tallies)
                if failing is not None:
                    break
    except KeyboardInterrupt:
        runs = sum(tally.runs.total() for tally in tallies.values())
        click.echo(f"fanout prove: stopped after {runs:,} runs; no guarantee was broken in them", err=True)
        sys.exit(SIGNALLED + signal.SIGINT)
    except BrokenProcessPool:
        click.echo("fanout prove: a process was killed, perhaps for want of memory: use fewer", err=True)
        sys.exit(FAILED)
    took_s = time.monotonic() - began_at  # noqa: TID251 - no event loop here
    if as_json:
        click.echo(json.dumps(_as_json(tallies, deviations, failing, took_s), indent=2))
    else:
        _say(tallies, deviations, failing, took_s)
    sys.exit(DONE if failing is None else NO)


def _run(level: Level, tallies: dict[str, Tally]) -> Failing | None:
    """Run the schedules of a level, until one fails."""
    label = _deviations(level.deviations)
    bar: AbstractContextManager[Any] = nullcontext()
    if sys.stderr.isatty():
        bar = click.progressbar(length=level.runs, label=label, show_pos=True, file=sys.stderr)
    elif level.deviations:  # without any it takes a moment
        click.echo(f"{label}: {level.runs:,} schedules", err=True)
    with bar as progress:
        for part in level.parts:
            tallies[part.scenario].add(part)
            if progress is not None:
                progress.update(part.runs)
            if part.failing is not None:
                return part.failing
    return None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C raises `KeyboardInterrupt`, so that what was run so far can be said."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _total(tallies: dict[str, Tally]) -> dict[str, int]:
    """Of all scenarios: a state, or a trace, of one is none of another."""
    rows = [tally.as_json() for tally in tallies.values()]
    return {name: sum(row[name] for row in rows) for name in ("runs", "traces", "states")}


def _say(tallies: dict[str, Tally], deviations: int, failing: Failing | None, took_s: float) -> None:
    click.echo(f"{'scenario':{_WIDTH}}  {'runs':>9}  {'traces':>8}  {'states':>8}  {'choices':>7}")
    total = _total(tallies)
    for name, row in {
        **{name: tally.as_json() for name, tally in tallies.items()},
        "together": total,
    }.items():
        click.echo(
            f"{name:{_WIDTH}}  {row['runs']:>9,}  {row['traces']:>8,}  {row['states']:>8,}"
            f"  {row.get('choices', ''):>7}  {TITLES.get(name, '')}".rstrip()
        )
    runs = f"{total['runs']:,} schedules in {took_s:.0f} s"
    if failing is None:
        click.echo(f"every schedule with at most {_deviations(deviations)} kept every guarantee: {runs}")
        return
    with_so_many = f"a schedule with {_deviations(len(failing.schedule))}"
    click.echo(f"\n{with_so_many} broke a guarantee, and none with fewer: {runs}\n")
    plan = SCENARIOS[failing.scenario]
    click.echo(shown(failing.scenario, plan, failing.schedule, run_once(plan, failing.schedule)))


def _deviations(count: int) -> str:
    return f"{count} deviation{'' if count == 1 else 's'}"


def _as_json(
    tallies: dict[str, Tally], deviations: int, failing: Failing | None, took_s: float
) -> dict[str, Any]:
    return {
        "deviations": deviations,
        **_total(tallies),
        "took_s": round(took_s, 1),
        "scenarios": {name: {"title": TITLES[name], **tally.as_json()} for name, tally in tallies.items()},
        "failing": None if failing is None else _failing_as_json(failing.scenario, failing.schedule),
    }


def _show_one(name: str, schedule: Schedule, *, as_json: bool) -> NoReturn:
    plan = SCENARIOS[name]
    try:
        proved = run_once(plan, schedule)
    except NoSuchChoice as error:
        raise click.UsageError(f"--schedule {error}") from None
    if proved.violations:
        schedule = shrunk(plan, schedule)
        proved = run_once(plan, schedule)
    if as_json:
        found = _failing_as_json(name, schedule) if proved.violations else None
        happenings = [asdict(happening) for happening in proved.trace.happenings]
        document = {
            "scenario": name,
            "schedule": text_of(schedule),
            "choices": proved.choices,
            "failing": found,
            "happenings": happenings,
        }
        click.echo(json.dumps(document, indent=2))
    elif proved.violations:
        click.echo(shown(name, plan, schedule, proved))
    else:
        _say_passing(name, proved)
    sys.exit(NO if proved.violations else DONE)


def _say_passing(name: str, proved: Proved) -> None:
    for happening in proved.trace.happenings:
        click.echo(line_of(happening))
    click.echo(f"{name}, {proved.choices} choices: every guarantee was kept")


def _failing_as_json(name: str, schedule: Schedule) -> dict[str, Any]:
    plan = SCENARIOS[name]
    proved = run_once(plan, schedule)
    nearest = nearest_passing(plan, schedule, proved)
    passing = None
    if nearest is not None:
        passing = {"schedule": text_of(nearest[0]), "same_happenings": first_difference(proved, nearest[1])}
    return {
        "scenario": name,
        "schedule": text_of(schedule),
        "deviations": len(schedule),
        "violations": [str(violation) for violation in proved.violations],
        "nearest_passing": passing,
        "repeat": command(name, schedule),
    }
