"""`make lab-breakages`: every breakage in the lab, and what each experiment saw of it.

`--json` prints every round: the samples of docs/guarantees.md. Exit code 1 when an experiment that must see a
breakage did not, in any round, or saw nothing of it but that the server hangs: none of these does.
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
@click.option("--json", "as_json", is_flag=True, help="Print every round as JSON, and the table as progress.")
def main(names: Sequence[str], rounds: int, as_json: bool) -> None:
    """NAMES: some breakages; none: all."""
    chosen = [breakage for breakage in in_order() if not names or breakage.name in names]
    code, whole = run_lab(*{experiment.id for breakage in chosen for experiment in must_see(breakage)})
    if code != DONE:
        raise click.ClickException("without a breakage, not every guarantee is kept: run fanout lab")
    click.echo("| breakage | red | without it → with it | time |\n| --- | --- | --- | --- |", err=as_json)
    samples: dict[str, list[Json]] = {}
    for breakage in chosen:
        samples[breakage.name] = [_round(breakage.name, whole) for _ in range(rounds)]
        click.echo(f"| {' | '.join(row(breakage.name, samples[breakage.name]))} |", err=as_json)
    missed = [
        f"{name}, round {number + 1}: {each['missed']}"
        for name, all_rounds in samples.items()
        for number, each in enumerate(all_rounds)
        if each["missed"]
    ]
    for line in missed:
        click.echo(f"not seen: {line}", err=True)
    if as_json:
        click.echo(json.dumps(samples, ensure_ascii=False))
    raise SystemExit(NO if missed else DONE)


def _round(name: str, whole: Json) -> Json:
    """missed: why this round is not red, empty if it is. seen: as of `sights`."""
    began_at = time.monotonic()
    code, found = run_lab("--break", name)
    took_s = time.monotonic() - began_at
    seen = sights(whole, found)
    missed = ""
    if code != NO or found["missed_by"] or not found["seen_by"]:
        missed = f"exit code {code}, {found['missed_by']}"
    elif any(HANGS in sight for sight in seen):
        missed = "nothing but that an experiment hangs"
    return {"missed": missed, "took_s": round(took_s, 1), "seen": seen}


def row(name: str, all_rounds: Sequence[Json]) -> list[str]:
    """A row of the table, from the rounds of one breakage."""
    red = sum(not each["missed"] for each in all_rounds)
    took_s = [each["took_s"] for each in all_rounds]
    span = f"{min(took_s):.0f} to {max(took_s):.0f} s" if len(took_s) > 1 else f"{took_s[0]:.0f} s"
    seen: list[str] = next((each["seen"] for each in all_rounds if each["seen"]), [])
    return [f"`{name}`", f"{red} of {len(all_rounds)}", "; ".join(seen), span]


if __name__ == "__main__":
    main()
