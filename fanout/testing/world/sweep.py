"""Many worlds, on all cores: one after the other in each process, each from its seed alone."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from fanout.process.early_signals import blocked_signals
from fanout.process.exits import FAILED
from fanout.testing.monitor.monitor import violations_of
from fanout.testing.world.draw import draw_plan
from fanout.testing.world.judge import Violation, judge
from fanout.testing.world.met import met
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
    """Run these simulations, and yield each report when it is ready.

    Raises `RuntimeError` when no thread can be started, and `BrokenProcessPool` when a process died.
    """
    if processes == 1:
        for seed in seeds:
            yield run_seed(seed, requests, traced=traced)
        return
    threading.Thread(target=bool).start()  # without a thread the pool would hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_end_with_parent) as pool:
        try:
            with blocked_signals():
                futures = [pool.submit(run_seed, seed, requests, traced=traced) for seed in seeds]
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(FAILED)

    threading.Thread(target=watch, daemon=True).start()
