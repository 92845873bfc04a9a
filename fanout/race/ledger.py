"""The record of one race. It is made outside the cancel scope and filled inside it.

Rule 1: results outlive the scope. A deadline means "what we have", not "nothing".
Rule 2: a call ends once. A second ending is a bug and raises.
"""

from __future__ import annotations

from dataclasses import dataclass

from fanout.race.outcome import Crash, Outcome, Success


@dataclass(frozen=True, slots=True)
class CallRecord:
    """What is known of one call. Times are Trio clock seconds; `None` means "not yet".

    marks: what the call said of itself: (name, at), in order. Filled in when it ends.
    """

    call: int
    started_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None
    marks: tuple[tuple[str, float], ...] = ()

    @property
    def elapsed_s(self) -> float:
        """Seconds from start to end; 0 for a call that never started or has not ended."""
        if self.started_at is None or self.ended_at is None:
            return 0.0
        return self.ended_at - self.started_at


class Ledger:
    """The calls of one race, in call order, and the order in which they ended."""

    __slots__ = ("_ended", "_records")

    def __init__(self, calls: int) -> None:
        self._records = [CallRecord(call) for call in range(calls)]
        self._ended: list[CallRecord] = []

    def start(self, call: int, at: float) -> None:
        self._records[call] = CallRecord(call, started_at=at)

    def end(
        self, call: int, outcome: Outcome, at: float, marks: tuple[tuple[str, float], ...] = ()
    ) -> CallRecord:
        record = self._records[call]
        if record.outcome is not None:
            raise RuntimeError(f"call {call} ended twice: {record.outcome!r}, then {outcome!r}")
        ended = CallRecord(call, record.started_at, at, outcome, marks)
        self._records[call] = ended
        self._ended.append(ended)
        return ended

    @property
    def records(self) -> tuple[CallRecord, ...]:
        """Every call, in call order."""
        return tuple(self._records)

    @property
    def ended(self) -> tuple[CallRecord, ...]:
        """The calls that have ended, in the order in which they did."""
        return tuple(self._ended)

    @property
    def pending(self) -> int:
        """How many calls have not ended."""
        return len(self._records) - len(self._ended)

    @property
    def winner(self) -> CallRecord | None:
        """The call whose success was recorded first."""
        return next((record for record in self._ended if isinstance(record.outcome, Success)), None)

    @property
    def crash(self) -> BaseException | None:
        """The first bug, if there was one."""
        return next((r.outcome.exception for r in self._ended if isinstance(r.outcome, Crash)), None)
