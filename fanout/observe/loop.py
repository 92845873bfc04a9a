"""How far the event loop lags. Deadlines and the network are checked once per iteration, so a long iteration
makes everything late, by its own length.

It is called when an iteration begins and when it ends, and not for each task: a microsecond per iteration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

HALF_LIFE_S: Final = 1.0  # how fast a long iteration is forgotten
USUAL_OVER_S: Final = 0.5  # the time over which the usual iteration is measured
SHORT_S: Final = 0.001  # a shorter iteration is not looked at closely
LOOK_EVERY: Final = 32  # iterations: what the thread does between them counts as little as that
UNUSUAL: Final = 1.5  # times the usual iteration: what is longer says nothing about the next one


@dataclass(frozen=True, slots=True)
class LoopStatistics:
    """Lengths of event-loop iterations, which are called passes here.

    worst_iteration_ms: the longest since the start. lateness_ms: the longest recently; it fades by half each
    second. usual_iteration_ms: the length of the iteration at a random moment of the last half second.
    """

    tasks: int
    runnable: int
    passes: int
    lateness_ms: float
    usual_iteration_ms: float
    worst_iteration_ms: float


class LoopWatch(trio.abc.Instrument):
    """Measures every event-loop iteration. Use it with `Sockets.watch_iterations`, or as an instrument."""

    def __init__(
        self,
        clock: Callable[[], float] = lambda: trio.current_time(),
        work_clock: Callable[[], float] | None = None,
    ) -> None:
        """In seconds. clock: measures iterations. work_clock: the processor time of the thread. With it,
        `behind_s` leaves out the time that other programs took: shedding load would not bring it back."""
        self._clock = clock
        self._work_clock = work_clock
        self._worked_at = 0.0  # the thread's clock, when it was last looked at
        self._busy_s = 0.0  # in iterations, since then
        # On the clock, in seconds: the time, where it need not be more exact than an iteration.
        self.iteration_began_at = 0.0
        self._ended_at = 0.0
        self._iterations = 0
        self._previous_s = 0.0
        self._usual_s = 0.0
        self._worst_s = 0.0
        self._lateness_s = 0.0
        self._lateness_at = 0.0
        self._is_behind_by_s = 0.0  # at least, in this iteration

    def after_io_wait(self, timeout: float) -> None:
        self.iteration_began_at = now = self._clock()
        self._is_behind_by_s = 0.0
        if timeout:  # else it has not slept
            slept_s = now - self._ended_at
            self._previous_s -= slept_s  # below 0 it has caught up
            self._usual_s *= 1.0 - slept_s / USUAL_OVER_S if slept_s < USUAL_OVER_S else 0.0

    def before_io_wait(self, timeout: float) -> None:
        self._ended_at = now = self._clock()
        passes, self._iterations = self._iterations, self._iterations + 1
        took_s = now - self.iteration_began_at
        if took_s < SHORT_S and took_s <= self._lateness_s and passes % LOOK_EVERY:  # nearly every pass
            self._usual_s += (took_s - self._usual_s) * took_s / USUAL_OVER_S
            self._previous_s = took_s
            self._busy_s += took_s
            return
        if not passes:
            self._look()
            return
        self._usual_s += (took_s - self._usual_s) * min(1.0, took_s / USUAL_OVER_S)
        is_looked_at = took_s >= SHORT_S or not passes % LOOK_EVERY
        self._previous_s = self._work_s(took_s)
        self._busy_s += took_s
        if is_looked_at:
            self._look()
        self._worst_s = max(self._worst_s, took_s)
        if took_s >= self._faded(now):
            self._lateness_s, self._lateness_at = took_s, now

    def behind_s(self) -> float:
        """How far behind the loop is: the time of the current iteration or, if longer, of the one before.

        Of the one before, the time counts that the loop has not slept since, up to a multiple of the usual: a
        single long iteration, as when garbage is collected, leaves little work behind.
        """
        if not self._iterations:
            return 0.0
        before_s = min(self._previous_s, UNUSUAL * self._usual_s)
        return max(before_s, self._work_s(self._clock() - self.iteration_began_at))

    def is_behind(self, by_s: float) -> bool:
        """Whether `behind_s` is more than that. If it was so earlier in this iteration, it still is."""
        if self._is_behind_by_s <= by_s:
            self._is_behind_by_s = self.behind_s()
        return self._is_behind_by_s > by_s

    def lateness_s(self) -> float:
        """How late a deadline may be noticed, judging by the iterations of the last seconds."""
        return self._faded(self._clock())

    def usual_iteration_s(self) -> float:
        """How long something takes now that takes one iteration."""
        return self._usual_s

    def statistics(self) -> LoopStatistics:
        trio_statistics = trio.lowlevel.current_statistics()
        return LoopStatistics(
            tasks=trio_statistics.tasks_living,
            runnable=trio_statistics.tasks_runnable,
            passes=self._iterations,
            lateness_ms=round(self.lateness_s() * 1000, 3),
            usual_iteration_ms=round(self._usual_s * 1000, 3),
            worst_iteration_ms=round(self._worst_s * 1000, 3),
        )

    def _work_s(self, took_s: float) -> float:
        """How much of the current iteration, which has taken so long, was our own work. A short one counts as
        that: reading the clock of the thread costs as much as the rest of this."""
        if self._work_clock is None or took_s < SHORT_S:
            return took_s
        others_s = self._busy_s + took_s - (self._work_clock() - self._worked_at)
        return took_s - min(took_s, max(0.0, others_s))

    def _look(self) -> None:
        """Begin again to compare the time of the iterations with that of the thread."""
        self._busy_s = 0.0
        if self._work_clock is not None:
            self._worked_at = self._work_clock()

    def _faded(self, now: float) -> float:
        return float(self._lateness_s * 0.5 ** ((now - self._lateness_at) / HALF_LIFE_S))
