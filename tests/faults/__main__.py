"""`make faults`: the nets in full, with a table. Without arguments it takes the better part of an hour."""

from __future__ import annotations

import logging
import random
import time

import click

from tests.faults.failing import FAILURES
from tests.faults.lines import OUT_OF_MEMORY
from tests.faults.resets import RESETS
from tests.faults.situations import SITUATIONS
from tests.faults.sweep import sweep

NETS = {"resets": RESETS, "system-calls": FAILURES, "memory": OUT_OF_MEMORY}


@click.command()
@click.argument("situations", nargs=-1)
@click.option("--net", "nets", multiple=True, type=click.Choice(list(NETS)), default=list(NETS))
@click.option("--share", default=1.0, show_default=True, help="Of all faults, drawn at random.")
@click.option("--seed", type=int, help="Repeats a run. [default: random]")
@click.option("--first", is_flag=True, help="Stop at the first broken guarantee.")
@click.option("--list", "lists", is_flag=True, help="Print the names of the situations.")
def main(
    situations: tuple[str, ...],
    nets: tuple[str, ...],
    share: float,
    seed: int | None,
    first: bool,
    lists: bool,
) -> None:
    """SITUATIONS: some of them, by name; none: all. Exit code 1 when a guarantee was broken.

    resets: the peer resets, closes or falls silent before each system call. system-calls: each call fails in
    each way that its man page knows. memory: no memory at each line of the connection driver and of the
    upstream's client.
    """
    logging.disable(logging.CRITICAL)  # Trio logs when nothing can be accepted, as it should
    chosen = [each for each in SITUATIONS if not situations or each.name in situations]
    if lists or len(chosen) < len(situations):
        click.echo("\n".join(each.name for each in SITUATIONS))
        raise SystemExit(0 if lists else 2)
    seed = random.randrange(1000) if seed is None else seed
    click.echo(f"seed {seed}")
    wrong: list[str] = []
    runs = 0
    began_at = time.monotonic()
    for net in nets:
        click.echo(f"\n{net:50}{'points':>8}{'runs':>8}{'seconds':>9}{'broken':>8}")
        for situation in chosen:
            at = time.monotonic()
            swept = sweep(situation, NETS[net], share=share, seed=seed, first=first)
            done, took_s = swept.runs.total(), time.monotonic() - at
            row = f"{situation.name:50}{len(swept.points):>8}{done:>8}{took_s:>9.1f}{len(swept.wrong):>8}"
            click.echo(row)
            for what in swept.wrong:
                click.echo(f"  {what}")
            wrong += swept.wrong
            runs += done
            if first and wrong:
                raise SystemExit(1)
    click.echo(f"\n{runs:,} runs in {time.monotonic() - began_at:.0f} s, {len(wrong)} broken, seed {seed}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
