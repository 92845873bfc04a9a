"""What happened between two samples: how many requests ended how, and how long they took."""

from __future__ import annotations

import random
from typing import Any, Final

from fanout.observe.receipt import Receipt

MAX_TIMES: Final = 1000  # kept a window, and sorted at its end: about 0.2 ms


class Window:
    """Receipts in, rates and percentiles out."""

    def __init__(self, began_at: float) -> None:
        self._began_at = began_at
        self._answered = self._failed = self._refused = self._left = 0
        self._times_ms: list[float] = []
        self._raced = 0

    def add(self, receipt: Receipt) -> None:
        if receipt.status is None:
            self._left += 1
        elif receipt.status == 200:
            self._answered += 1
        elif receipt.status >= 500 and receipt.status != 503:
            self._failed += 1
        else:
            self._refused += 1
        if receipt.status is not None and receipt.calls:
            self._keep_time(receipt.used_ms)

    def to_json(self, now: float) -> dict[str, Any]:
        """Rates a second, and latencies of answers in milliseconds; `None` when there was no answer."""
        seconds = max(now - self._began_at, 1e-3)
        times = sorted(self._times_ms)
        return {
            "answered_rate": round(self._answered / seconds, 2),
            "failed_rate": round(self._failed / seconds, 2),
            "refused_rate": round(self._refused / seconds, 2),
            "left_rate": round(self._left / seconds, 2),
            "p50_ms": _percentile(times, 0.5),
            "p99_ms": _percentile(times, 0.99),
        }

    def _keep_time(self, used_ms: float) -> None:
        """Each of the window's times is as likely to be kept as any other."""
        self._raced += 1
        if len(self._times_ms) < MAX_TIMES:
            self._times_ms.append(used_ms)
        elif (place := random.randrange(self._raced)) < MAX_TIMES:
            self._times_ms[place] = used_ms


def _percentile(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)
