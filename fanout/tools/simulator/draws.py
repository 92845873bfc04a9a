"""What chance decides, in a way that can be repeated.

Rule 1: the n-th draw depends on the settings and n, and on nothing else.
Rule 2: only `random()` is used: Python guarantees it, and it alone, to stay the same from version to version.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from fanout.tools.simulator.settings import SimulatorSettings

ERROR_STATUSES: Final = (500, 502, 503, 504, 429)  # what the `status` fault draws from


@dataclass(frozen=True, slots=True)
class CallDraw:
    """fault: a name, or `None` for a right answer. status: for the `status` fault."""

    delay_ms: int
    fault: str | None
    status: int


class Draws:
    """The draws of one set of settings. Stateless: any n, in any order, as often as wanted."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._call_odds = _Odds(settings.faults)
        self._connection_odds = _Odds(settings.connection_faults)

    def call(self, n: int) -> CallDraw:
        """What the n-th call gets. Every part is drawn each time, so changing one rate moves nothing else."""
        dice = random.Random(f"{self._settings.seed} call {n}")
        low, high = self._settings.min_delay_ms, self._settings.max_delay_ms
        return CallDraw(
            delay_ms=low + int(dice.random() * (high - low + 1)),
            fault=self._call_odds.pick(dice.random()),
            status=ERROR_STATUSES[int(dice.random() * len(ERROR_STATUSES))],
        )

    def connection(self, n: int) -> str | None:
        """The fault of the n-th connection, or `None`."""
        dice = random.Random(f"{self._settings.seed} connection {n}")
        return self._connection_odds.pick(dice.random())


class _Odds:
    """Shares laid end to end on the line from 0 to 1; what they leave free is no fault."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        self._names = tuple(rates)
        self._ends = tuple(accumulate(rates.values()))

    def pick(self, point: float) -> str | None:
        index = bisect_right(self._ends, point)
        return self._names[index] if index < len(self._names) else None
