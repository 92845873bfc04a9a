"""The promises that can be checked on a running server, request by request: how often each was kept.

The others (drain, bulkhead, threads) show only when something is done to the server: tests hold those.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from fanout.observe.receipt import CallReceipt, Receipt
from fanout.race.outcome import NOT_STARTED, SUCCESSES, WON, Cancelled, Crash, Success

CHECKED: Final = ("G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8")
_STOPPED: Final = (Cancelled.word, NOT_STARTED)


class GuaranteeBoard:
    """Counts kept and broken promises by id."""

    def __init__(self) -> None:
        self._kept: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()

    def check(self, promise: str, kept: bool) -> None:
        (self._kept if kept else self._broken)[promise] += 1

    def receipt(self, receipt: Receipt) -> None:
        """Check all that a receipt can show."""
        calls = receipt.calls
        if receipt.reason == "caller_left":
            if calls:
                self.check("G6", all(_has_ended_by(call, receipt.ended_at) for call in calls))
            return
        self.check("G1", receipt.status is not None)
        if receipt.reason == "overloaded":
            self.check("G8", not calls)
        if not calls:
            return
        self.check("G2", receipt.late_by_ms == 0)
        self.check("G3", all(_has_ended_by(call, receipt.ended_at) for call in calls))
        if receipt.reason != Crash.word:
            if receipt.endpoint == "first":
                self.check("G4", _is_first_success(receipt))
            elif receipt.endpoint == "all":
                self.check("G5", _is_every_success(receipt))

    def to_json(self) -> dict[str, list[int]]:
        """(kept, broken) by id."""
        return {promise: [self._kept[promise], self._broken[promise]] for promise in CHECKED}


def _has_ended_by(call: CallReceipt, at: float) -> bool:
    return call.started_at is None or (call.ended_at is not None and call.ended_at <= at)


def _is_first_success(receipt: Receipt) -> bool:
    """A 200 is the earliest success; anything else means that there was none."""
    successes = [call for call in receipt.calls if call.outcome in SUCCESSES and call.ended_at is not None]
    if receipt.status != 200:
        return not successes
    earliest = min((call.ended_at for call in successes if call.ended_at is not None), default=None)
    return [call.ended_at for call in successes if call.outcome == WON] == [earliest]


def _is_every_success(receipt: Receipt) -> bool:
    """A 200 means that every call ended by itself and one succeeded; `deadline`, that one had not ended."""
    outcomes = [call.outcome for call in receipt.calls]
    stopped = any(outcome in _STOPPED for outcome in outcomes)
    if receipt.reason == "deadline":
        return stopped
    return not stopped and (Success.word in outcomes) == (receipt.status == 200)
