"""How many requests may be in flight (G8). No queue: a waiting request spends its own deadline unseen.

Rule 1: taking and giving back are synchronous. Who takes a token gives it back in a `finally`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    limit: int
    in_flight: int
    peak_in_flight: int
    admitted: int
    refused: int


class Admission:
    """Counts requests in flight, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_flight = 0
        self._peak = 0
        self._admitted = 0
        self._refused = 0

    def try_take(self) -> bool:
        """Take a token and return True, or count a refusal and return False. Never waits."""
        if self._in_flight >= self._limit:
            self._refused += 1
            return False
        in_flight = self._in_flight + 1
        self._admitted += 1
        self._peak = max(self._peak, in_flight)
        self._in_flight = in_flight  # last: without memory for the others, no permit is taken
        return True

    def give_back(self) -> None:
        """Give one token back. Giving back what nobody took is a bug and raises."""
        if self._in_flight == 0:
            raise RuntimeError("an admission token was given back twice")
        self._in_flight -= 1

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def statistics(self) -> AdmissionStatistics:
        return AdmissionStatistics(self._limit, self._in_flight, self._peak, self._admitted, self._refused)
