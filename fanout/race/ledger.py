"""The record of one race. It is made outside the cancel scope and filled inside it.

Rule 1: results outlive the scope. A deadline means "what we have", not "nothing".
Rule 2: a call ends once. A second ending is a bug and raises.
"""

from __future__ import annotations

from typing import NamedTuple

from fanout.race.outcome import Cancelled, Crash, Outcome, Success


class CallRecord(NamedTuple):
    """What is known of one call. Times are Trio clock seconds; `None` means "not yet".

    timings: what the call said of itself: (name, at), in order. Filled in when it ends.
    left: its tasks that were still alive when it ended, by their place in the code; see `CallTimings`.
    time_left_ms: what its upstream was last sent as the time that is left; see `CallTimings`.
    """

    call: int
    started_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None
    timings: tuple[tuple[str, float], ...] = ()
    left: tuple[str, ...] = ()
    time_left_ms: int | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds from start to end; 0 for a call that never started or has not ended."""
        if self.started_at is None or self.ended_at is None:
            return 0.0
        return self.ended_at - self.started_at


class Ledger:
    """The calls of one race, in call order, and the order in which they ended.

    pending: how many calls have not ended. stopped: how many were cancelled. winner: the call whose success
    was recorded first. crash: the first bug, if there was one. Read them, and write with `start` and `end`.
    """

    __slots__ = ("_ended", "_records", "_started_at", "crash", "pending", "stopped", "winner")

    def __init__(self, calls: int) -> None:
        self._started_at: list[float | None] = [None] * calls
        self._records: list[CallRecord | None] = [None] * calls  # of those that have ended
        self._ended: list[CallRecord] = []
        self.pending = calls
        self.stopped = 0
        self.winner: CallRecord | None = None
        self.crash: BaseException | None = None

    def start(self, call: int, at: float) -> None:
        self._started_at[call] = at

    def end(
        self,
        call: int,
        outcome: Outcome,
        at: float,
        timings: tuple[tuple[str, float], ...] = (),
        left: tuple[str, ...] = (),
        time_left_ms: int | None = None,
    ) -> CallRecord:
        before = self._records[call]
        if before is not None:
            raise RuntimeError(f"call {call} ended twice: {before.outcome!r}, then {outcome!r}")
        ended = CallRecord(call, self._started_at[call], at, outcome, timings, left, time_left_ms)
        self._records[call] = ended
        self._ended.append(ended)
        self.pending -= 1
        match outcome:
            case Success() if self.winner is None:
                self.winner = ended
            case Cancelled():
                self.stopped += 1
            case Crash(exception) if self.crash is None:
                self.crash = exception
        return ended

    @property
    def records(self) -> tuple[CallRecord, ...]:
        """Every call, in call order."""
        if not self.pending:
            return tuple(self._records)  # type: ignore[arg-type]  # they have all ended
        return tuple(
            [
                CallRecord(call, self._started_at[call]) if record is None else record
                for call, record in enumerate(self._records)
            ]
        )

    @property
    def ended(self) -> tuple[CallRecord, ...]:
        """The calls that have ended, in the order in which they did."""
        return tuple(self._ended)
