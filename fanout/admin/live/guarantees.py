"""The guarantees that can be checked on a running server: on how many requests each was checked, and kept.

A guarantee that no request has tested counts nothing. The others (shutdown, bulkhead, bugs, threads) show
only when something is done to the server: tests hold those.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from fanout.observe.receipt import CallReceipt, Receipt
from fanout.race.outcome import NOT_STARTED, SUCCESSES, WON, Cancelled, Crash, Success

CHECKED: Final = ("G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8")
_STOPPED: Final = (Cancelled.word, NOT_STARTED)


class GuaranteeBoard:
    """Counts requests by guarantee: those for which it was kept, and those for which it was broken."""

    def __init__(self) -> None:
        self._kept: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        self._used_the_pool = 0  # requests since the pool was last counted

    def check(self, guarantee: str, kept: bool, requests: int = 1) -> None:
        (self._kept if kept else self._broken)[guarantee] += requests

    def count_pool(self, is_whole: bool) -> None:
        """The pool was counted (G7). This checks the requests that have used it since the last time."""
        used, self._used_the_pool = self._used_the_pool, 0
        self.check("G7", is_whole, used if is_whole else max(1, used))

    def count_in_flight(self, is_within_limit: bool) -> None:
        """More in flight than the limit breaks G8. Fewer say nothing: a shed request shows that it holds."""
        if not is_within_limit:
            self.check("G8", kept=False)

    def receipt(self, receipt: Receipt) -> None:
        """Check all that a receipt can show."""
        calls = receipt.calls
        if any(call.started_at is not None for call in calls):
            self._used_the_pool += 1
        if receipt.reason == "client_disconnected":
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
        """Requests by id: (kept, broken)."""
        return {guarantee: [self._kept[guarantee], self._broken[guarantee]] for guarantee in CHECKED}


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
