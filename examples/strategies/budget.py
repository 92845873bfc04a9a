"""How many calls hedging may add.

A token bucket that requests fill, as Finagle's retry budget: so calls per request have a bound, whatever the
reason for a further call. gRPC's retry throttle (proposal A6) is another bucket: failures empty it and
successes fill it. It protects an upstream that fails, but at one that is only slow every request may hedge.
"""

from __future__ import annotations

from typing import Final

CALL: Final = 100  # in hundredths of a call, so that ten times 10 % are one call, and not nearly one


class HedgingBudget:
    """After n requests, at most `at_first + n * percent / 100` further calls were made.

    percent: of a call, that each request earns. most: how many calls it can hold, for a burst.
    """

    def __init__(self, percent: int, most: int, at_first: int = 0) -> None:
        self._percent = percent
        self._most = most * CALL
        self._held = at_first * CALL

    @property
    def is_ample(self) -> bool:
        """More than half is there: enough to hedge calls that are only slow. The rest is for failures."""
        return self._held > self._most // 2

    def earn(self) -> None:
        """A request has come."""
        self._held = min(self._most, self._held + self._percent)

    def spend(self) -> bool:
        """Whether a further call may be made. It is paid for then."""
        if self._held < CALL:
            return False
        self._held -= CALL
        return True
