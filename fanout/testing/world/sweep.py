"""Many worlds, on all cores: one after the other in each process, each from its seed alone."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from fanout.testing.monitor.monitor import violations_of
from fanout.testing.world.draw import draw_plan
from fanout.testing.world.judge import Violation, judge
from fanout.testing.world.met import met
from fanout.testing.world.processes import Processes
from fanout.testing.world.records import line_of, records_of
from fanout.testing.world.world import run_plan

_KEPT = 10  # violations of a world that are told; all are counted


@dataclass(frozen=True, slots=True)
class SeedReport:
    """The result of one simulation run. broken: the number of requests for which a guarantee was broken.

    cpu_s: processor time, drawing and judging included. met: how often each of the `SITUATIONS` occurred.
    formulas: the guarantees whose formula the monitor has seen broken, and how often. trace: the run for
    `fanout check-trace`, if it was wanted.
    """

    seed: int
    requests: int
    broken: int
    violations: tuple[Violation, ...]
    cpu_s: float
    met: dict[str, int]
    formulas: dict[str, int]
    trace: str = ""

    @property
    def disagree(self) -> bool:
        """The judge and the monitor were written apart, and one of them has seen what the other has not."""
        return bool(self.violations) != bool(self.formulas)


def run_seed(seed: int, requests: int, *, traced: bool = False) -> SeedReport:
    """Draw the plan, run the world, judge it, and let the monitor check it."""
    began_at = time.process_time()
    gc.disable()  # a world is small: it is collected as a whole
    try:
        ended = run_plan(draw_plan(seed, requests), seed)
        violations = judge(ended)
        asked, counts = len(ended.requests), met(ended)
        records = list(records_of(ended, seed))
        formulas = Counter(violation.guarantee for violation in violations_of(records))
        trace = "".join(map(line_of, records)) if traced else ""
        del ended, records
        gc.collect()
    finally:
        gc.enable()
    broken = len({violation.of.partition(".")[0] for violation in violations})
    cpu_s = time.process_time() - began_at
    return SeedReport(
        seed, asked, broken, tuple(violations[:_KEPT]), cpu_s, dict(counts), dict(formulas), trace
    )


def sweep(seeds: range, requests: int, processes: int, *, traced: bool = False) -> Iterator[SeedReport]:
    """Run these simulations, and yield the reports in the order of their seeds.

    Raises `RuntimeError` when no thread can be started, and `BrokenProcessPool` when a process died.
    """
    with Processes(processes) as spread:
        yield from spread.run(partial(run_seed, traced=traced), [(seed, requests) for seed in seeds])
