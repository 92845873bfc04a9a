"""When requests start. The schedule is fixed before the run and never waits for an answer.

Rule 1: an arrival has one intended start, and everything is measured from it.
Rule 2: an arrival that is due is launched, however late the loop is; none is dropped or moved.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import count, islice, takewhile
from math import sqrt

import trio

from .plan import Arrivals, LoadPlan

LAUNCHES_BETWEEN_CHECKPOINTS = 32  # a client that is behind goes on reading answers


def arrival_offsets(rate_per_s: float, ramp_s: float, arrivals: Arrivals, seed: int) -> Iterator[float]:
    """Endless intended starts, in seconds after the start of the schedule, never decreasing.

    The rate grows linearly from 0 over `ramp_s`. `constant` puts the k-th arrival where exactly k were
    due; `poisson` takes the same curve at the times of a unit Poisson process, so its mean is the same.
    """
    ramp_arrivals = rate_per_s * ramp_s / 2
    for due in _unit_poisson(seed) if arrivals == "poisson" else count():
        if due < ramp_arrivals:
            yield sqrt(2 * ramp_s * due / rate_per_s)
        else:
            yield ramp_s / 2 + due / rate_per_s


def _unit_poisson(seed: int) -> Iterator[float]:
    rng = random.Random(seed)
    due = 0.0
    while True:
        due += rng.expovariate(1.0)
        yield due


def planned_offsets(plan: LoadPlan) -> Iterator[float]:
    """The offsets of the whole run: those of the warm-up, then up to the plan's bounds."""
    offsets = arrival_offsets(plan.rate_per_s, plan.ramp_s, plan.arrivals, plan.seed)
    if plan.duration_s is not None:
        end_s = plan.warmup_s + plan.duration_s
        offsets = takewhile(lambda offset_s: offset_s < end_s, offsets)
    if plan.requests is None:
        return offsets
    return _measured_at_most(plan.requests, plan.warmup_s, offsets)


def _measured_at_most(requests: int, warmup_s: float, offsets: Iterator[float]) -> Iterator[float]:
    for offset_s in offsets:
        if offset_s >= warmup_s:
            yield offset_s
            yield from islice(offsets, requests - 1)
            return
        yield offset_s


async def pace(
    offsets: Iterable[float],
    started_at: float,
    launch: Callable[[float], None],
    sleep_until: Callable[[float], Awaitable[None]] = trio.sleep_until,
) -> None:
    """Call `launch(intended_at)` once for every offset, at its time or as soon after as the loop allows."""
    await trio.lowlevel.checkpoint()
    for number, offset_s in enumerate(offsets):
        intended_at = started_at + offset_s
        if trio.current_time() < intended_at:
            await sleep_until(intended_at)
        elif number % LAUNCHES_BETWEEN_CHECKPOINTS == 0:
            await trio.lowlevel.checkpoint()
        launch(intended_at)
