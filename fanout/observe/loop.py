"""How late the loop is. Deadlines are checked once a pass, and so is the network: a long pass makes
everything late, by as much as it is long.

An instrument on the two events of a pass, nothing a task: it costs a microsecond a pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio

HALF_LIFE_S: Final = 1.0  # how fast a long pass is forgotten


@dataclass(frozen=True, slots=True)
class LoopStatistics:
    """lateness_ms: the longest pass of late, fading by half each second. worst_pass_ms: since the start."""

    tasks: int
    runnable: int
    passes: int
    lateness_ms: float
    worst_pass_ms: float


class LoopWatch(trio.abc.Instrument):
    """Measures every pass of the loop while it is installed with `trio.lowlevel.add_instrument`."""

    def __init__(self) -> None:
        self._began_at = 0.0
        self._passes = 0
        self._worst_s = 0.0
        self._lateness_s = 0.0
        self._lateness_at = 0.0

    def after_io_wait(self, timeout: float) -> None:
        self._began_at = trio.current_time()

    def before_io_wait(self, timeout: float) -> None:
        if self._passes:
            now = trio.current_time()
            took_s = now - self._began_at
            self._worst_s = max(self._worst_s, took_s)
            if took_s >= self._faded(now):
                self._lateness_s, self._lateness_at = took_s, now
        self._passes += 1

    def pass_s(self) -> float:
        """For how long the current pass has run: so late is what is done now."""
        return trio.current_time() - self._began_at if self._passes else 0.0

    def lateness_s(self) -> float:
        """How late a deadline may be noticed, going by the passes of the last seconds."""
        return self._faded(trio.current_time())

    def statistics(self) -> LoopStatistics:
        trio_statistics = trio.lowlevel.current_statistics()
        return LoopStatistics(
            tasks=trio_statistics.tasks_living,
            runnable=trio_statistics.tasks_runnable,
            passes=self._passes,
            lateness_ms=round(self.lateness_s() * 1000, 3),
            worst_pass_ms=round(self._worst_s * 1000, 3),
        )

    def _faded(self, now: float) -> float:
        return float(self._lateness_s * 0.5 ** ((now - self._lateness_at) / HALF_LIFE_S))
