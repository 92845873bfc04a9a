"""Live progress on standard error: a block that refreshes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import click
import trio

from .generator import Generator
from .outcome import ON_TIME, OWED, Outcome
from .reporting import quantile

_BLOCK_EVERY_S = 0.5
_LINE_EVERY_S = 5.0


async def show_block(generator: Generator) -> None:
    """Refresh two lines twice a second until cancelled."""
    shown = 0

    def refresh(lines: list[str]) -> None:
        nonlocal shown
        up = f"\x1b[{shown}A" if shown else ""
        click.echo(up + "".join(f"\r\x1b[2K{line}\n" for line in lines), err=True, nl=False)
        shown = len(lines)

    await _show(generator, _BLOCK_EVERY_S, refresh)


async def show_lines(generator: Generator) -> None:
    """Print one plain line every few seconds until cancelled."""
    await _show(generator, _LINE_EVERY_S, lambda lines: click.echo("  ".join(lines), err=True))


async def _show(generator: Generator, every_s: float, write: Callable[[list[str]], None]) -> None:
    useful_before = 0
    while True:
        await trio.sleep(every_s)
        useful = generator.tally.outcomes[Outcome.USEFUL]
        write(progress_lines(generator, trio.current_time(), (useful - useful_before) / every_s))
        useful_before = useful


def progress_lines(generator: Generator, now: float, useful_per_s: float) -> list[str]:
    """What is known now, in two lines. Latencies are those of the most recent useful answers."""
    plan, tally = generator.plan, generator.tally
    elapsed_s = now - tally.started_at
    if elapsed_s < 0:
        clock = "warming up"
    elif plan.duration_s is None:
        clock = f"{elapsed_s:.1f} s"
    else:
        clock = f"{min(elapsed_s, plan.duration_s):.1f} of {plan.duration_s:g} s"
    on_time = sum(tally.outcomes[outcome] for outcome in ON_TIME)
    owed = sum(tally.outcomes[outcome] for outcome in OWED)
    recent = sorted(tally.recent_useful_s)
    return [
        f"{clock}  sent {generator.launched:,}  in flight {generator.in_flight:,}  "
        f"useful {useful_per_s:,.0f}/s  on time {on_time / owed if owed else 1:.2%}",
        f"refused {tally.outcomes[Outcome.REFUSED]:,}  broken guarantees {tally.broken_guarantees():,}  "
        f"p50 {quantile(recent, 0.5) * 1000:.1f} ms  p99 {quantile(recent, 0.99) * 1000:.1f} ms",
    ]
