"""What is sent: ready-made request bytes, drawn by weight from one seeded generator."""

from __future__ import annotations

import random
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate

from .endpoint import Endpoint
from .plan import LoadPlan


@dataclass(frozen=True, slots=True)
class Shot:
    """One kind of request: its bytes, and what its answer is judged by. Made once, sent many times."""

    endpoint: Endpoint
    timeout_ms: int
    request: bytes


@dataclass(frozen=True, slots=True)
class Leave:
    """Hang up this long after the launch: with a reset (RST), or in order (FIN)."""

    after_s: float
    reset: bool


class Draw:
    """Draws what each arrival sends and whether it hangs up. Depends on the plan and its seed alone."""

    def __init__(self, plan: LoadPlan) -> None:
        self._rng = random.Random(plan.seed)
        self._hang_up_share = plan.hang_up_share
        self._hang_up_within_s = plan.hang_up_within_ms / 1000
        self._shots = [
            Shot(endpoint, timeout_ms, _request(plan, endpoint, timeout_ms))
            for endpoint, _ in plan.mix
            for timeout_ms in plan.timeouts_ms
        ]
        weights = [weight for _, weight in plan.mix for _ in plan.timeouts_ms]
        self._cumulative = list(accumulate(weights))

    def shot(self) -> Shot:
        """The request of the next arrival."""
        if len(self._shots) == 1:
            return self._shots[0]
        return self._shots[bisect(self._cumulative, self._rng.random() * self._cumulative[-1])]

    def leave(self) -> Leave | None:
        """How the next arrival hangs up, or None when it stays for its answer."""
        if self._hang_up_share == 0 or self._rng.random() >= self._hang_up_share:
            return None
        return Leave(self._rng.uniform(0, self._hang_up_within_s), reset=self._rng.random() < 0.5)


def _request(plan: LoadPlan, endpoint: Endpoint, timeout_ms: int) -> bytes:
    target = plan.target
    connection = "" if plan.keep_alive else "Connection: close\r\n"
    return (
        f"GET {target.prefix}{endpoint.path}?timeout={timeout_ms} HTTP/1.1\r\n"
        f"Host: {target.authority}\r\nUser-Agent: fanout-load\r\nAccept: application/json\r\n{connection}\r\n"
    ).encode("ascii")
