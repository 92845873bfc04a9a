"""`make lab-breakages`: every breakage in the lab, and what each experiment saw of it.

Prints the table of docs/guarantees.md. Exit code 1 when an experiment that must see a breakage did not, in
any round, or saw nothing of it but that the server hangs: none of these does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import click

from fanout.lab.broken import in_order, must_see
from fanout.lab.run import HANGS
from fanout.process.exits import DONE, NO

_WITHIN_S: Final = 120

Json = dict[str, Any]


def run_lab(*arguments: str) -> tuple[int, Json]:
    """Exit code and JSON of `fanout lab`. Raises `RuntimeError` when it printed something else."""
    command = [sys.executable, "-m", "fanout", "lab", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    if not done.stdout.startswith("{"):
        raise RuntimeError(f"{' '.join(arguments)}: exit code {done.returncode}: {done.stderr}")
    return done.returncode, json.loads(done.stdout)


def sights(whole: Json, broken: Json) -> list[str]:
    """For each experiment that is red, the first thing that is: what it is without the breakage, and with it.

    whole, broken: what `fanout lab --json` prints.
    """
    without = {experiment["id"]: experiment["seen"] for experiment in whole["experiments"]}
    found = []
    for experiment in broken["experiments"]:
        seen = experiment["seen"]
        reds = [number for number, each in enumerate(seen) if not each["holds"]]
        for number in reds[:1]:
            by, text = seen[number]["by"], seen[number]["text"]
            nth = sum(each["by"] == by for each in seen[:number])  # an experiment that ends early says less
            before = [each["text"] for each in without[experiment["id"]] if each["by"] == by][nth : nth + 1]
            found.append(f"{experiment['id']} {by}: {' → '.join([*before, text])}")
    return found


@click.command()
@click.argument("names", nargs=-1)
@click.option("--rounds", default=1, help="How often each.")
def main(names: Sequence[str], rounds: int) -> None:
    """NAMES: some breakages; none: all."""
    chosen = [breakage for breakage in in_order() if not names or breakage.name in names]
    code, whole = run_lab(*{experiment.id for breakage in chosen for experiment in must_see(breakage)})
    if code != DONE:
        raise click.ClickException("without a breakage, not every guarantee is kept: run fanout lab")
    click.echo("| breakage | red | without it → with it | time |\n| --- | --- | --- | --- |")
    missed = []
    for breakage in chosen:
        seen: list[str] = []
        took_s = []
        for number in range(rounds):
            began_at = time.monotonic()
            code, found = run_lab("--break", breakage.name)
            took_s.append(time.monotonic() - began_at)
            seen = seen or sights(whole, found)
            if code != NO or found["missed_by"] or not found["seen_by"]:
                missed.append(f"{breakage.name}, round {number + 1}: exit code {code}, {found['missed_by']}")
            elif any(HANGS in sight for sight in sights(whole, found)):
                missed.append(f"{breakage.name}, round {number + 1}: nothing but that an experiment hangs")
        red = f"{rounds - sum(line.startswith(breakage.name + ',') for line in missed)} of {rounds}"
        span = f"{min(took_s):.0f} to {max(took_s):.0f} s" if rounds > 1 else f"{took_s[0]:.0f} s"
        click.echo(f"| `{breakage.name}` | {red} | {'; '.join(seen)} | {span} |")
    for line in missed:
        click.echo(f"not seen: {line}", err=True)
    raise SystemExit(NO if missed else DONE)


if __name__ == "__main__":
    main()
