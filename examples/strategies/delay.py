"""How long to wait for a call before the next one is started."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from math import ceil
from typing import Final

from fanout.race.ledger import CallRecord
from fanout.race.outcome import Success

ENOUGH: Final = 100  # a percentile of fewer is mostly chance
WINDOW: Final = 1000  # so it follows the upstream: in ten seconds at 100 requests per second


class Window:
    """The latest numbers, up to `size` of them, and their percentiles. To add one takes microseconds."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._in_time: deque[float] = deque()
        self._in_order: list[float] = []

    def __len__(self) -> int:
        return len(self._in_order)

    def add(self, number: float) -> None:
        if len(self) == self._size:
            oldest = self._in_time.popleft()
            del self._in_order[bisect_left(self._in_order, oldest)]
        self._in_time.append(number)
        insort(self._in_order, number)

    def percentile(self, percent: float) -> float:
        """The smallest number that at least so many percent do not exceed. `IndexError` if there is none."""
        return self._in_order[max(0, ceil(percent / 100 * len(self)) - 1)]


class Delay:
    """`seconds`: fixed, or that percentile of how long first calls took to succeed."""

    def __init__(self, seconds: float, percentile: float | None = None) -> None:
        """seconds: until enough calls were seen; without a percentile, for ever."""
        self.seconds = seconds
        self._percentile = percentile
        self._seen = Window(WINDOW)

    def saw(self, first: CallRecord) -> None:
        """Take in how long the first call of a request took.

        One that was stopped, or failed, after the delay took at least that long, and counts: without the
        slow calls the percentile would fall, and the delay with it. What ended sooner without a success
        says nothing about how long an answer takes.
        """
        if self._percentile is None:
            return
        if isinstance(first.outcome, Success) or first.elapsed_s > self.seconds:
            self._seen.add(first.elapsed_s)
            if len(self._seen) >= ENOUGH:
                self.seconds = self._seen.percentile(self._percentile)
