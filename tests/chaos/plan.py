"""What will be done to whom, and when: all of it follows from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.chaos.link import Conditions

LEAD_S: Final = 3.0  # before the first step; the steps end this long before the end, too
PAUSE_S: Final = (0.5, 4.0)  # between two steps that concern the same target
LINKS: Final = ("clients", "upstreams")
PROCESSES: Final = ("upstream 0", "upstream 1", "worker")


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: of a link its conditions, of a process a signal (SIGSTOP until the end, or SIGKILL).

    kills_clients: within the silence a process of clients is killed, so that no packet says so.
    """

    begins_s: float
    ends_s: float
    target: str
    what: str
    conditions: Conditions | None = None
    kills_clients: bool = False

    def __str__(self) -> str:
        return f"{self.begins_s:7.2f} to {self.ends_s:7.2f} s  {self.target}: {self.what}"

    @property
    def cuts(self) -> bool:
        """Whether a connection to or through the target may end, or stand still."""
        return self.conditions is None or self.conditions.cuts


def make_plan(seed: int, seconds: float) -> list[Step]:
    """In order of their beginning. Steps of different targets overlap."""
    steps: list[Step] = []
    for target in (*LINKS, *PROCESSES):
        # Of its own, so that a new target leaves the others' steps as they are.
        steps += _steps(Random(f"{seed} {target}"), target, seconds - LEAD_S)
    return sorted(steps, key=lambda step: step.begins_s)


def _steps(random: Random, target: str, end_s: float) -> Iterator[Step]:
    begins_s = LEAD_S + random.uniform(0, PAUSE_S[1])
    while True:
        step = (_of_link if target in LINKS else _of_process)(random, target, begins_s)
        if step.ends_s > end_s:
            return
        yield step
        begins_s = step.ends_s + random.uniform(*PAUSE_S)


def _of_link(random: Random, target: str, begins_s: float) -> Step:
    loss, delay_ms, jitter_ms = (random.uniform(0.01, 0.2), random.uniform(5, 100), random.uniform(5, 100))
    what, conditions, longest_s = random.choice(
        [
            (f"loses {loss:.0%}", Conditions(loss=loss), 5.0),
            (f"delays by {delay_ms:.0f} ms", Conditions(delay_ms=delay_ms), 5.0),
            (f"reorders within {jitter_ms:.0f} ms", Conditions(jitter_ms=jitter_ms), 5.0),
            (f"loses {loss:.0%}, reorders within {jitter_ms:.0f} ms", Conditions(loss, 0, jitter_ms), 5.0),
            ("is silent", Conditions(silent=True), 6.0),
            ("is reset by a firewall", Conditions(resets=True), 2.0),
            ("has a firewall that forgot every connection", Conditions(forgets=True), 6.0),
        ]
    )
    ends_s = begins_s + random.uniform(0.5, longest_s)
    kills_clients = target == "clients" and conditions.silent and random.random() < 0.5
    return Step(begins_s, ends_s, target, what, conditions, kills_clients)


def _of_process(random: Random, target: str, begins_s: float) -> Step:
    if random.random() < 0.5:
        return Step(begins_s, begins_s + random.uniform(0.2, 5.0), target, "stopped")
    return Step(begins_s, begins_s + random.uniform(0.5, 2.0), target, "killed")
