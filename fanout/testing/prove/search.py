"""Every schedule with at most N deviations, each one run and judged: those with the fewest first.

So the first schedule that fails has as few deviations as any that fails. Each schedule is run once. It
extends one that is shorter by a deviation, and the run of that one tells which extensions there are.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from fanout.testing.prove.choices import Schedule, extensions
from fanout.testing.prove.scenarios import SCENARIOS
from fanout.testing.prove.world import prove
from fanout.testing.world.judge import Violation
from fanout.testing.world.processes import Processes

_COLLECT_EVERY: Final = 50  # runs: each leaves a world behind


@dataclass(frozen=True, slots=True)
class Failing:
    """A schedule that broke a guarantee."""

    scenario: str
    schedule: Schedule
    violations: tuple[Violation, ...]


@dataclass(slots=True)
class Part:
    """Some runs of one scenario, up to the first that fails.

    extended: the schedules that were run, each with the number of its extensions.
    states, traces: fingerprints, to be counted over all parts.
    """

    scenario: str
    deviations: int
    runs: int = 0
    choices: int = 0
    extended: list[tuple[Schedule, int]] = field(default_factory=list)
    states: set[int] = field(default_factory=set)
    traces: set[int] = field(default_factory=set)
    failing: Failing | None = None


def run_extensions(scenario: str, prefix: Schedule) -> Part:
    """Run every schedule that has one deviation more than `prefix`."""
    after = prove(SCENARIOS[scenario], prefix).after
    return run_schedules(scenario, len(prefix) + 1, extensions(prefix, after))


def run_schedules(scenario: str, deviations: int, schedules: Iterable[Schedule]) -> Part:
    """Run these schedules, which have so many deviations each, until one fails."""
    part = Part(scenario, deviations)
    _forget_what_stays()
    gc.disable()
    try:
        for schedule in schedules:
            proved = prove(SCENARIOS[scenario], schedule)
            part.runs += 1
            part.choices = max(part.choices, proved.choices)
            part.extended.append((schedule, sum(len(alternatives) for _, alternatives in proved.after)))
            part.states |= proved.states
            part.traces.add(int(proved.trace.digest()[:15], 16))
            if proved.violations:
                part.failing = Failing(scenario, schedule, proved.violations)
                break
            if part.runs % _COLLECT_EVERY == 0:
                gc.collect()
    finally:
        gc.enable()
    return part


@dataclass(slots=True)
class Level:
    """All schedules with the same number of deviations. runs: how many there are. parts: as they are done."""

    deviations: int
    runs: int
    parts: Iterator[Part]


def levels(scenarios: Sequence[str], deviations: int, processes: Processes) -> Iterator[Level]:
    """One level after the other, up to `deviations`. Take all parts of a level before the next level."""
    done: list[Part] = []

    def noted(parts: Iterable[Part]) -> Iterator[Part]:
        for part in parts:
            done.append(part)
            yield part

    yield Level(0, len(scenarios), noted(run_schedules(name, 0, [()]) for name in scenarios))
    for number in range(1, deviations + 1):
        work = [(part.scenario, *each) for part in done for each in part.extended]
        done.clear()
        prefixes = [(scenario, schedule) for scenario, schedule, count in work if count]
        runs = sum(count for _, _, count in work)
        yield Level(number, runs, noted(processes.run(run_extensions, prefixes)))


@cache
def _forget_what_stays() -> None:
    """In a process of its own: collections pass over what was there before the first run, which is most."""
    if multiprocessing.parent_process() is not None:
        gc.collect()
        gc.freeze()
