"""How the admin listener shares the event loop with the clients of the API (G10).

Rule 1: everything an admin client makes the server do is done in pieces of less than half a millisecond.
        Before each piece, it awaits a turn.
Rule 2: an event-loop iteration has a bounded number of turns, however many admin clients there are.
Rule 3: while the loop is busy, a turn is delayed, but not for long: probes and scrapes take longer on a busy
        server, and still end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fanout.loop.turns import Turns

PROBES_PER_ITERATION: Final = 8  # each takes 0.05 ms


class AdminTurns:
    """The queues of one admin listener: none waits behind another.

    probes: not delayed while the loop is busy, or an orchestrator would restart a busy server. feed: the live
    page's, which serves all viewers at once. others: everything else that a client asks for.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self.probes = Turns(PROBES_PER_ITERATION)
        self.feed = Turns(1, is_busy)
        self.others = Turns(1, is_busy)
