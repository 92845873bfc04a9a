"""Which requests a viewer is shown: all, up to a rate; above it a fair choice, and a count of the rest.

Rule 1: what is held between two batches is bounded, whatever the rate.
Rule 2: who was shown running is shown ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from fanout.observe.receipt import Receipt, endpoint_of
from fanout.race.events import CallEnded, RaceStarted
from fanout.race.ledger import CallRecord
from fanout.race.outcome import Failure

ROWS_A_SECOND: Final = 50  # more than anybody can read
BURST: Final = 50
FOR_ENDS: Final = 15  # of the burst: so that a rare ending is shown beside many common beginnings

Row = dict[str, Any]


@dataclass(slots=True)
class _Running:
    started: RaceStarted
    ended: dict[int, CallRecord] = field(default_factory=dict)

    def row(self) -> Row:
        """The part of a receipt's JSON that is known so far; `running` is the word for the rest."""
        budget = self.started.budget
        return {
            "request_id": self.started.request_id,
            "endpoint": endpoint_of(self.started.strategy),
            "arrived_ms": round(budget.arrived_at * 1000, 3),
            "timeout_ms": budget.timeout_ms,
            "reserve_ms": round(budget.reserve_ms, 3),
            "reason": "running",
            "calls": [self._call(call) for call in range(self.started.calls)],
        }

    def _call(self, call: int) -> Row:
        record = self.ended.get(call)
        row: Row = {"upstream": call, "outcome": "running", "phases": []}
        arrived_at = self.started.budget.arrived_at
        row["started_ms"] = round((self.started.at - arrived_at) * 1000, 3)
        if record is not None and record.outcome is not None and record.ended_at is not None:
            row["outcome"] = record.outcome.word
            row["error"] = record.outcome.error if isinstance(record.outcome, Failure) else None
            row["ended_ms"] = round((record.ended_at - arrived_at) * 1000, 3)
            row["phases"] = [[name, round((at - arrived_at) * 1000, 3)] for name, at in record.timings]
        return row


def receipt_row(receipt: Receipt) -> Row:
    """A receipt as the page reads it: its JSON, what was asked for, and where it is on the server's clock."""
    arrived_ms = round(receipt.arrived_at * 1000, 3)
    return {**receipt.to_json(), "method": receipt.method, "path": receipt.path, "arrived_ms": arrived_ms}


class Rows:
    """Collects between two batches. Of requests that share an id only one is shown while it runs."""

    def __init__(self, now: float) -> None:
        self._tokens = float(BURST)
        self._refilled_at = now
        self._running: dict[str, _Running] = {}
        self._changed: dict[str, None] = {}
        self._ended: list[Receipt] = []  # they were shown running
        self._waiting: dict[str, list[Receipt]] = {}  # by reason
        self._left_out = 0

    def started(self, event: RaceStarted) -> None:
        if self._tokens > FOR_ENDS and event.request_id not in self._running:
            self._tokens -= 1
            self._running[event.request_id] = _Running(event)
            self._changed[event.request_id] = None

    def call_ended(self, event: CallEnded) -> None:
        running = self._running_of(event.request_id, event.arrived_at)
        if running is not None:
            running.ended[event.record.call] = event.record
            self._changed[event.request_id] = None

    def ended(self, receipt: Receipt) -> None:
        if self._running_of(receipt.request_id, receipt.arrived_at) is not None:
            del self._running[receipt.request_id]
            self._changed.pop(receipt.request_id, None)
            self._ended.append(receipt)
            return
        waiting = self._waiting.setdefault(receipt.reason, [])
        if len(waiting) < BURST:
            waiting.append(receipt)
        else:
            self._left_out += 1

    def _running_of(self, request_id: str, arrived_at: float) -> _Running | None:
        """If that very request is shown, and not another one with its id."""
        running = self._running.get(request_id)
        is_it = running is not None and running.started.budget.arrived_at == arrived_at
        return running if is_it else None

    def is_any_running(self) -> bool:
        """Whether a request is shown that runs."""
        return bool(self._running)

    def running(self) -> list[Row]:
        """Every request that is shown and runs."""
        return [running.row() for running in self._running.values()]

    def take(self, now: float) -> tuple[list[Row], int]:
        """The rows since the last time, and how many requests were left out."""
        refill = (now - self._refilled_at) * ROWS_A_SECOND
        self._tokens, self._refilled_at = min(float(BURST), self._tokens + refill), now
        rows = [self._running[request_id].row() for request_id in self._changed]
        rows += [receipt_row(receipt) for receipt in (*self._ended, *self._choose())]
        left_out = self._left_out + sum(map(len, self._waiting.values()))
        self._changed.clear()
        self._ended.clear()
        self._waiting.clear()
        self._left_out = 0
        return rows, left_out

    def _choose(self) -> list[Receipt]:
        """One of each reason in turn, as long as there are tokens. Taken out of what waits."""
        chosen: list[Receipt] = []
        while self._tokens >= 1 and any(self._waiting.values()):
            for waiting in self._waiting.values():
                if waiting and self._tokens >= 1:
                    self._tokens -= 1
                    chosen.append(waiting.pop(0))
        return chosen
