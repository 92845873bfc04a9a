"""Many worlds, on all cores: one after the other in each process, each from its seed alone."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass

from fanout.testing.world.draw import draw_plan
from fanout.testing.world.judge import Violation, judge
from fanout.testing.world.met import met
from fanout.testing.world.processes import Processes
from fanout.testing.world.world import run_plan

_KEPT = 10  # violations of a world that are told; all are counted


@dataclass(frozen=True, slots=True)
class SeedReport:
    """The result of one simulation run. broken: the number of requests for which a guarantee was broken.

    cpu_s: processor time, drawing and judging included. met: how often each of the `SITUATIONS` occurred.
    """

    seed: int
    requests: int
    broken: int
    violations: tuple[Violation, ...]
    cpu_s: float
    met: dict[str, int]


def run_seed(seed: int, requests: int) -> SeedReport:
    """Draw the plan, run the world, judge it."""
    began_at = time.process_time()
    gc.disable()  # a world is small: it is collected as a whole
    try:
        ended = run_plan(draw_plan(seed, requests), seed)
        violations = judge(ended)
        asked, counts = len(ended.requests), met(ended)
        del ended
        gc.collect()
    finally:
        gc.enable()
    broken = len({violation.of.partition(".")[0] for violation in violations})
    cpu_s = time.process_time() - began_at
    return SeedReport(seed, asked, broken, tuple(violations[:_KEPT]), cpu_s, dict(counts))


def sweep(seeds: range, requests: int, processes: int) -> Iterator[SeedReport]:
    """Run these simulations, and yield the reports in the order of their seeds.

    Raises `RuntimeError` when no thread can be started, and `BrokenProcessPool` when a process died.
    """
    with Processes(processes) as spread:
        yield from spread.run(run_seed, [(seed, requests) for seed in seeds])
