"""`make sweep`: every situation, endpoint, point and action, for several orders of tasks, with a table.

`--json` prints the runs of each situation, endpoint, seed and action instead: the samples of the figures in
docs/guarantees.md.
"""

from __future__ import annotations

import faulthandler
import itertools
import json
import time
from collections import Counter
from typing import Final

import click

from tests.sweep.situations import ENDPOINTS, SITUATIONS
from tests.sweep.sweep import runs, sweep

STUCK_S: Final = 60.0  # a run takes milliseconds


@click.command()
@click.option("--seeds", default=10, show_default=True, help="Orders of tasks within a pass of the loop.")
@click.option("--first", is_flag=True, help="Stop at the first broken guarantee, and print it as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts of every single sweep as JSON.")
def main(seeds: int, first: bool, as_json: bool) -> None:
    """Exit code 1 when a guarantee was not kept."""
    raise SystemExit(_until_the_first() if first else _all(seeds, as_json))


def _all(seeds: int, as_json: bool) -> int:
    began_at = time.monotonic()
    total: Counter[str] = Counter()
    wrong: list[str] = []
    samples: dict[str, list[dict[str, object]]] = {}
    click.echo(f"{'situation':42}{'points: first':>15}{'all':>6}{'runs':>9}{'broken':>8}", err=as_json)
    for situation in SITUATIONS:
        points: Counter[str] = Counter()
        here: Counter[str] = Counter()
        broken: list[str] = []
        for endpoint, seed in itertools.product(ENDPOINTS, range(seeds)):
            swept = sweep(situation, endpoint, seed=seed)
            samples.setdefault(situation.name, []).append(
                {
                    "endpoint": endpoint,
                    "seed": seed,
                    "points": swept.points,
                    "runs": dict(swept.runs),
                    "broken": len(swept.wrong),
                }
            )
            points[endpoint] = max(points[endpoint], swept.points)
            here += swept.runs
            broken += [f"{situation.name}, {endpoint}, seed {seed}: {what}" for what in swept.wrong]
        first, every = (points[endpoint] for endpoint in ENDPOINTS)
        click.echo(f"{situation.name:42}{first:>15}{every:>6}{here.total():>9,}{len(broken):>8}", err=as_json)
        total += here
        wrong += broken
    took_s = time.monotonic() - began_at
    click.echo(f"{total.total():,} runs in {took_s:.0f} s, {len(wrong)} guarantees broken", err=as_json)
    for what in wrong[:100]:
        click.echo(what, err=as_json)
    if as_json:
        click.echo(json.dumps(samples))
    return 1 if wrong else 0


def _until_the_first() -> int:
    tried = 0
    for situation, endpoint in itertools.product(SITUATIONS, ENDPOINTS):
        for name, n, wrong in runs(situation, endpoint):
            tried += 1
            faulthandler.dump_traceback_later(STUCK_S, exit=True)  # unless the next run ends
            if wrong:
                what = f"{situation.name}, {endpoint}: {name} at {n}: {wrong[0]}"
                click.echo(json.dumps({"tried": tried, "wrong": what}))
                return 1
    faulthandler.cancel_dump_traceback_later()
    click.echo(json.dumps({"tried": tried, "wrong": None}))
    return 0


if __name__ == "__main__":
    main()
