"""A clock that a test moves by hand, over real sockets: every timeout has its real length and takes no time.

Between two moves time stands still, so a run passes the same points each time.
"""

from __future__ import annotations

from math import inf

import trio


class HandClock(trio.abc.Clock):
    def __init__(self) -> None:
        self._now = 1000.0

    def start_clock(self) -> None:
        """It stands."""

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return 0.0 if deadline <= self._now else inf

    def move(self, seconds: float) -> None:
        """Whatever is due until then is due in the next event-loop iteration."""
        self._now += seconds
