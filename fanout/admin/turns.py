"""How the admin listener shares the event loop with the clients of the API (G10).

Rule 1: the work of admin requests is split into pieces of less than half a millisecond, and each piece awaits
        a turn.
Rule 2: an event-loop iteration has a bounded number of turns, however many admin clients there are.
Rule 3: while the event loop is busy, a turn is delayed, but not for long. A scrape of a busy server takes
        longer, and still ends. Probes are not delayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fanout.loop.turns import Turns

PROBES_PER_ITERATION: Final = 8  # each takes 0.05 ms


class AdminTurns:
    """The queues of one admin listener. None waits behind another.

    probes: never delayed, or an orchestrator would restart a busy server. feed: the live page, for all its
    viewers together. others: every other request.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self.probes = Turns(PROBES_PER_ITERATION)
        self.feed = Turns(1, is_busy)
        self.others = Turns(1, is_busy)
