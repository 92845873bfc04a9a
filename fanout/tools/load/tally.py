"""The accounts of a run: every outcome counted once, latencies by endpoint and outcome, second by second.

Rule 1: a request belongs to the second of its intended start, so the outcomes of a second add up to what
was offered in it.
Rule 2: only complete answers have latencies.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from dataclasses import dataclass, field

from .histogram import Latencies
from .outcome import BROKEN_GUARANTEES, Outcome

RECENT_ANSWERS = 2000  # enough for a live p99, few enough to sort twice a second


@dataclass(slots=True)
class Account:
    """One endpoint's requests of one outcome."""

    count: int = 0
    from_intended: Latencies = field(default_factory=Latencies)
    from_written: Latencies = field(default_factory=Latencies)


@dataclass(slots=True)
class Second:
    """What was offered in one second of the schedule, and what became of it."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    useful_latencies_s: array[float] = field(default_factory=lambda: array("f"))


class Tally:
    """Fills while the run goes on; `started_at` is the schedule's start on Trio's clock."""

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.accounts: dict[tuple[str, Outcome], Account] = {}
        self.seconds: dict[int, Second] = {}
        self.outcomes: Counter[Outcome] = Counter()
        self.statuses: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.unasked_answers = 0
        self.recent_useful_s: deque[float] = deque(maxlen=RECENT_ANSWERS)

    def record(
        self,
        endpoint: str,
        outcome: Outcome,
        intended_at: float,
        written_at: float,
        answered_at: float | None,
        status: int,
        reason: str,
    ) -> None:
        """Count one settled request. `answered_at` is None, and `status` 0, without a complete answer."""
        self.outcomes[outcome] += 1
        account = self.accounts.get((endpoint, outcome))
        if account is None:
            account = self.accounts[endpoint, outcome] = Account()
        account.count += 1
        number = int(intended_at - self.started_at)
        second = self.seconds.get(number)
        if second is None:
            second = self.seconds[number] = Second()
        second.outcomes[outcome] += 1
        if reason:
            self.reasons[reason] += 1
        if answered_at is None:
            return
        self.statuses[status] += 1
        latency_s = answered_at - intended_at
        account.from_intended.record(latency_s)
        account.from_written.record(answered_at - written_at)
        if outcome is Outcome.USEFUL:
            second.useful_latencies_s.append(latency_s)
            self.recent_useful_s.append(latency_s)

    def settled(self) -> int:
        """Requests that have their outcome."""
        return self.outcomes.total()

    def broken_guarantees(self) -> int:
        """Late, missing, broken, malformed and wrong answers, and answers nobody asked for."""
        return sum(self.outcomes[outcome] for outcome in BROKEN_GUARANTEES) + self.unasked_answers
