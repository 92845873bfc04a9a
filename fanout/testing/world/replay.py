"""The command `fanout replay`: one simulation run again, as a timeline."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any, Final, TextIO

import click

from fanout.process.exits import DONE, FAILED, NO
from fanout.testing.world.chrome import chrome_trace
from fanout.testing.world.draw import draw_plan
from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import RequestFacts
from fanout.testing.world.judge import Violation, judge
from fanout.testing.world.timeline import summary, told
from fanout.testing.world.world import run_plan

TRACE: Final = click.File("w", encoding="utf-8", lazy=False)  # opened before the run: a bad path is bad usage


@click.command("replay")
@click.option("--seed", type=click.IntRange(0), required=True, metavar="NUMBER", help="The seed of the run.")
@click.option(
    "--requests",
    type=click.IntRange(1, 5000),
    default=1000,
    show_default=True,
    metavar="COUNT",
    help="As in `fanout simulate`: another number is another run.",
)
@click.option(
    "--show",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="COUNT",
    help="How many requests to show.",
)
@click.option("--only", metavar="NAME", multiple=True, help="Show this request, such as w17. Repeatable.")
@click.option("--trace", type=TRACE, metavar="PATH", help="Write a Chrome trace here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with everything in order.")
def replay(
    seed: int, requests: int, show: int, only: tuple[str, ...], trace: TextIO | None, as_json: bool
) -> None:
    """Repeat one simulation run and show it, request by request.

    Requests whose guarantees were broken come first. Exit code 1 if there are any.

    \b
    Example:
      fanout replay --seed 7 --requests 200
      fanout replay --seed 7 --requests 200 --only w17 --trace world.json
    """
    ended = run_plan(draw_plan(seed, requests), seed, traced=True)
    _check_names(only, ended)
    violations = judge(ended)
    if trace is not None:
        _write(trace, json.dumps(chrome_trace(ended)))
    if as_json:
        click.echo(json.dumps(_as_json(seed, ended, violations)))
    else:
        _show(seed, ended, violations, only, show)
        if trace is not None:
            click.echo(f"\nwritten to {trace.name}: open it in chrome://tracing or ui.perfetto.dev")
    sys.exit(NO if violations else DONE)


def _check_names(only: tuple[str, ...], ended: Ended) -> None:
    numbers = sorted(request.script.id for request in ended.requests)
    unknown = sorted(set(only) - {f"w{number}" for number in numbers})
    if unknown:
        names = _ranges(numbers) or "none was sent"
        raise click.UsageError(f"--only={unknown[0]!r}: use the name of a request of this run: {names}")


def _ranges(numbers: Sequence[int]) -> str:
    """`[0, 1, 2, 5]` is `w0 to w2, w5`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return ", ".join(" to ".join(f"w{number}" for number in ends) for ends in ranges)


def _write(trace: TextIO, text: str) -> None:
    try:
        with trace:
            trace.write(text)
    except OSError as error:
        click.echo(f"fanout replay: --trace {trace.name!r} cannot be written: {error.strerror}", err=True)
        sys.exit(FAILED)


def _show(seed: int, ended: Ended, violations: list[Violation], only: tuple[str, ...], show: int) -> None:
    click.echo(summary(ended, seed, violations))
    shown = _chosen(ended, violations, only, show)
    requests = {f"w{request.script.id}" for request in ended.requests}
    for violation in violations:
        if violation.of.partition(".")[0] not in requests:
            click.echo(click.style(f"  broken: {violation}", fg="red"))
    for request in shown:
        click.echo()
        click.echo(told(request, violations))
    left = len(ended.requests) - len(shown)
    if left and not only:
        one = f"w{ended.requests[0].script.id}"
        click.echo(f"\n{left} more: --show {len(ended.requests)} shows all, --only {one} one")


def _chosen(
    ended: Ended, violations: list[Violation], only: tuple[str, ...], show: int
) -> list[RequestFacts]:
    if only:
        return [request for request in ended.requests if f"w{request.script.id}" in only]
    broken = {violation.of.partition(".")[0] for violation in violations}
    first = sorted(ended.requests, key=lambda r: (f"w{r.script.id}" not in broken, r.sent_at))[:show]
    return sorted(first, key=lambda request: request.sent_at)


def _as_json(seed: int, ended: Ended, violations: list[Violation]) -> dict[str, Any]:
    return {
        "seed": seed,
        "requests": len(ended.requests),
        "requests_planned": len(ended.plan.requests),
        "ended_at": ended.ended_at,
        "trace_sha256": ended.trace.digest(),
        "violations": [dataclasses.asdict(violation) for violation in violations],
        "happenings": [dataclasses.asdict(happening) for happening in ended.trace.happenings],
    }
