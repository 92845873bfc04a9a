"""The time of one request: its arrival, its timeout, and the time reserve for writing the answer."""

from __future__ import annotations

from typing import Final, NamedTuple

PARAMETER: Final = "parameter"
HEADER: Final = "header"
DEFAULT: Final = "default"


class Budget(NamedTuple):
    """The time one request may take.

    arrived_at: Trio clock, seconds: the moment the request's head was read (time zero).
    timeout_ms: what the client asked for. The last byte of the answer is due within it (G2).
    reserve_ms: kept back from the race, so that the answer can be written on time.
    timeout_from: where the timeout comes from: the `parameter`, the `header`, or the `default`.
    """

    arrived_at: float
    timeout_ms: int
    reserve_ms: float
    timeout_from: str = DEFAULT

    @property
    def answer_due_at(self) -> float:
        """The client's deadline. A later answer is counted as a broken guarantee."""
        return self.arrived_at + self.timeout_ms / 1000

    @property
    def race_ends_at(self) -> float:
        """The calls' deadline. It may lie in the past: then no call is started at all."""
        return self.arrived_at + (self.timeout_ms - self.reserve_ms) / 1000

    def elapsed_ms(self, now: float) -> float:
        return (now - self.arrived_at) * 1000
