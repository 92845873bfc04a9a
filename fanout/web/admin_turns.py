"""Turns: how the admin listener shares the event loop with the clients of the API (G10).

Rule 1: everything an admin client makes the server do is done in pieces of less than half a millisecond.
        Before each piece, it awaits a turn.
Rule 2: an event-loop iteration has a bounded number of turns, however many admin clients there are. They are
        given in the order in which they were asked for.
Rule 3: while the loop is busy, a turn is delayed, but by no more than `MAX_DELAY_S`: probes and scrapes take
        longer on a busy server, and still end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

PROBES_PER_ITERATION: Final = 8  # each takes 0.05 ms
MAX_DELAY_S: Final = 0.01  # per turn: admin clients keep about 3 % of a loop that is always busy
LOOK_AGAIN_S: Final = 0.001


def never_busy() -> bool:
    return False


class Turns:
    """A queue for turns. `await turns.next()` returns at the beginning of one."""

    def __init__(self, per_iteration: int, is_busy: Callable[[], bool] = never_busy) -> None:
        """per_iteration: at most so many pieces in one event-loop iteration. is_busy: asked before a turn."""
        self._places = trio.CapacityLimiter(per_iteration)
        self._is_busy = is_busy

    async def next(self) -> None:
        """Wait for a turn. It lasts until the caller's next checkpoint."""
        async with self._places:  # to enter takes an iteration, and so does to pass the place on
            give_up_at = trio.current_time() + MAX_DELAY_S
            while self._is_busy() and trio.current_time() < give_up_at:  # noqa: ASYNC110 - no event
                await trio.sleep(LOOK_AGAIN_S)


class AdminTurns:
    """The queues of one admin listener: none waits behind another.

    probes: not delayed while the loop is busy, or an orchestrator would restart a busy server. feed: the live
    page's, which serves all viewers at once. others: everything else that a client asks for.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self.probes = Turns(PROBES_PER_ITERATION)
        self.feed = Turns(1, is_busy)
        self.others = Turns(1, is_busy)
