"""The strategies in many runs of the simulation: `python -m tests.examples.strategies --seeds 200`."""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial

import click

from tests.examples.strategies.simulated import BUDGETS, RULES, at_once, hedged


@click.command()
@click.option("--seeds", default=100, show_default=True)
def main(seeds: int) -> None:
    """Every strategy, with two and three calls, and every budget. Exit code 1 if a guarantee was broken."""
    runs = [partial(at_once, strategy, calls) for strategy in RULES for calls in (2, 3)]
    runs += [partial(hedged, budget, calls) for budget in BUDGETS for calls in (2, 3)]
    broken = False
    for run in runs:
        met = Counter[str]()
        for seed in range(seeds):
            wrong, seen = run(seed)
            met += seen
            broken = broken or bool(wrong)
            for what in wrong:
                click.echo(f"{run.args}, seed {seed}: {what}")
        click.echo(f"{run.args}: " + ", ".join(f"{name}: {count:,}" for name, count in sorted(met.items())))
    sys.exit(broken)


if __name__ == "__main__":
    main()
