"""Turns bound the pieces of work per event-loop iteration, however many tasks want to do one.

A piece of work blocks the event loop while it runs. Where clients decide how many pieces there are (TLS
handshakes, admin requests), each piece waits for a turn, first come, first served. The rest of the iteration
belongs to all other tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

MAX_DELAY_S: Final = 0.01  # per turn: delayed work still gets about 3 % of a loop that is always busy
LOOK_AGAIN_S: Final = 0.001


def never_busy() -> bool:
    return False


class Turns:
    """A queue for turns. `await turns.next()` returns when a turn begins."""

    def __init__(self, per_iteration: int, is_busy: Callable[[], bool] = never_busy) -> None:
        """per_iteration: the largest number of turns in one event-loop iteration.

        is_busy: while it returns true, a turn is delayed, but by no more than `MAX_DELAY_S`.
        """
        self._places = trio.CapacityLimiter(per_iteration)
        self._is_busy = is_busy

    async def next(self) -> None:
        """Wait for a turn. It lasts until the task's next checkpoint."""
        async with self._places:  # to acquire a place waits for the next iteration
            give_up_at = trio.current_time() + MAX_DELAY_S
            while self._is_busy() and trio.current_time() < give_up_at:  # noqa: ASYNC110 - no event
                await trio.sleep(LOOK_AGAIN_S)
