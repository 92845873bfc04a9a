"""How long clients are waited for, and which connections wait for one: shared by a server's connections."""

from __future__ import annotations

from math import inf
from typing import Final, Generic, TypeVar

import trio

from fanout.server.limits import Limits

# If 10,000 clients began to send at the same time, their timeouts would make one long event-loop iteration.
# So this many connections end at once, and as many again a little later.
ENDS_AT_ONCE: Final = 16  # about 1 ms
ENDS_EVERY_S: Final = 0.0015

C = TypeVar("C")


class Timeouts(Generic[C]):
    """The timeouts of `limits`, which get shorter once the server is `draining`.

    closes_after_answer: the server shuts down, so every answer is the last one on its connection.

    waiting: connections whose client owes bytes, and since when, by Trio's clock; longest first. of_streams:
    the cancel scopes of HTTP/2 streams whose client has not yet taken all that was sent.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits: Final = limits
        self.draining = False
        self.closes_after_answer = False
        self.waiting: dict[C, float] = {}
        self.of_streams: dict[trio.CancelScope, None] = {}  # ordered: every drain is the same
        self._due: dict[float, tuple[float, int]] = {}  # by timeout: the latest deadline, how many have it

    def timeout_s(self, limit_s: float) -> float:
        """How long to wait for a client: `limit_s`, less while draining. `inf` is not a wait."""
        if self.draining and limit_s != inf:
            return min(limit_s, self.limits.drain_grace_s)
        return limit_s

    def spread_timeout_s(self, limit_s: float) -> float:
        """As `timeout_s`, and a little more where many waits would end together."""
        timeout_s = self.timeout_s(limit_s)
        now = trio.current_time()
        due_at = now + timeout_s
        at, number = self._due.get(timeout_s, (0.0, 0))
        if due_at >= at + ENDS_EVERY_S:
            at, number = due_at, 0
        elif number == ENDS_AT_ONCE:
            at, number = at + ENDS_EVERY_S, 0
        self._due[timeout_s] = at, number + 1
        return timeout_s if at <= due_at else at - now
