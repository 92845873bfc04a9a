"""How late the loop is. Deadlines are checked once a pass, and so is the network: a long pass makes
everything late, by as much as it is long.

An instrument on the two events of a pass, nothing a task: it costs a microsecond or two a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

HALF_LIFE_S: Final = 1.0  # how fast a long pass is forgotten
USUAL_OVER_S: Final = 0.5  # the time over which the usual pass is measured
UNUSUAL: Final = 1.5  # times the usual pass: what a pass is longer than that says nothing of the next one


@dataclass(frozen=True, slots=True)
class LoopStatistics:
    """lateness_ms: the longest pass of late, fading by half each second. worst_pass_ms: since the start.

    usual_pass_ms: the length of the pass that one lands in at any moment of the last half second.
    """

    tasks: int
    runnable: int
    passes: int
    lateness_ms: float
    usual_pass_ms: float
    worst_pass_ms: float


class LoopWatch(trio.abc.Instrument):
    """Measures every pass of the loop while it is installed with `trio.lowlevel.add_instrument`."""

    def __init__(self, work_clock: Callable[[], float] = lambda: trio.current_time()) -> None:
        """work_clock: in seconds, what `behind_s` measures a pass with. The processor time of the thread
        leaves out what other programs took: to refuse a caller would not get it back."""
        self._work_clock = work_clock
        self._work_began_at = 0.0
        self._began_at = 0.0
        self._ended_at = 0.0
        self._passes = 0
        self._previous_s = 0.0
        self._usual_s = 0.0
        self._worst_s = 0.0
        self._lateness_s = 0.0
        self._lateness_at = 0.0

    def after_io_wait(self, timeout: float) -> None:
        self._began_at = now = trio.current_time()
        self._work_began_at = self._work_clock()
        slept_s = now - self._ended_at
        self._previous_s = max(0.0, self._previous_s - slept_s)
        self._usual_s -= self._usual_s * min(1.0, slept_s / USUAL_OVER_S)

    def before_io_wait(self, timeout: float) -> None:
        self._ended_at = now = trio.current_time()
        if self._passes:
            took_s = now - self._began_at
            self._previous_s = self._work_s()
            self._usual_s += (took_s - self._usual_s) * min(1.0, took_s / USUAL_OVER_S)
            self._worst_s = max(self._worst_s, took_s)
            if took_s >= self._faded(now):
                self._lateness_s, self._lateness_at = took_s, now
        self._passes += 1

    def behind_s(self) -> float:
        """How far behind the loop is: for how long the current pass has run, or the one before it did.

        Whichever is longer. Of the one before counts what the loop has not slept off since, and what was
        not unusual: a single long pass, as when garbage is collected, has left little work behind.
        """
        if not self._passes:
            return 0.0
        before_s = min(self._previous_s, UNUSUAL * self._usual_s)
        return max(before_s, self._work_s())

    def lateness_s(self) -> float:
        """How late a deadline may be noticed, going by the passes of the last seconds."""
        return self._faded(trio.current_time())

    def usual_pass_s(self) -> float:
        """How long what takes one pass takes now."""
        return self._usual_s

    def statistics(self) -> LoopStatistics:
        trio_statistics = trio.lowlevel.current_statistics()
        return LoopStatistics(
            tasks=trio_statistics.tasks_living,
            runnable=trio_statistics.tasks_runnable,
            passes=self._passes,
            lateness_ms=round(self.lateness_s() * 1000, 3),
            usual_pass_ms=round(self._usual_s * 1000, 3),
            worst_pass_ms=round(self._worst_s * 1000, 3),
        )

    def _work_s(self) -> float:
        return self._work_clock() - self._work_began_at

    def _faded(self, now: float) -> float:
        return float(self._lateness_s * 0.5 ** ((now - self._lateness_at) / HALF_LIFE_S))
