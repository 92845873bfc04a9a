"""The sweep: the request of one situation, done again for each of its points and each action."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from fanout.testing.points import Point
from tests.sweep.actions import ACTIONS, Action, Sight
from tests.sweep.run import Run
from tests.sweep.situations import Endpoint, Situation

UNDISTURBED = "undisturbed"


@dataclass(slots=True)
class Swept:
    """points: of the undisturbed request. runs: by action. wrong: what was not kept, and where."""

    points: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def sweep(
    situation: Situation,
    endpoint: Endpoint,
    *,
    seed: int = 0,
    actions: tuple[Action, ...] = ACTIONS,
    every: int = 1,
) -> Swept:
    swept = Swept()
    for name, n, wrong in runs(situation, endpoint, seed=seed, actions=actions, every=every):
        swept.wrong += [f"{name} at {n}: {what}" for what in wrong]
        if name == UNDISTURBED:
            swept.points = n
        else:
            swept.runs[name] += 1
    return swept


def runs(
    situation: Situation,
    endpoint: Endpoint,
    *,
    seed: int = 0,
    actions: tuple[Action, ...] = ACTIONS,
    every: int = 1,
) -> Iterator[tuple[str, int, list[str]]]:
    """One run after the other: the action, the point, what was wrong.

    The first is undisturbed and tells how many points there are, and what can be struck at each. every: make
    every n-th of the runs.
    """
    targets: list[tuple[int, Action]] = []

    def look(n: int, point: Point, sight: Sight) -> None:
        targets.extend((n, action) for action in actions if action.aim(sight, point) is not None)

    undisturbed = Run(situation, endpoint, seed, look=look)
    wrong = undisturbed.run()
    yield UNDISTURBED, undisturbed.points, wrong
    for n, action in targets[::every]:
        yield action.name, n, Run(situation, endpoint, seed, action, n).run()
