"""The time of the loop: Trio's own, `time.perf_counter`, without the layer around it that a request passes
some fifty times."""

from __future__ import annotations

import time

import trio


class LoopClock(trio.abc.Clock):
    """For `trio.run`. In seconds, monotonic; where it begins means nothing."""

    current_time = staticmethod(time.perf_counter)  # noqa: TID251 - others shall ask the loop's clock, which is this

    def start_clock(self) -> None:
        """It runs already."""

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self.current_time()
