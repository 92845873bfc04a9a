"""Turns: a bounded number of pieces of work per event-loop iteration, however many tasks want to do one.

A piece of work blocks the event loop while it is done. Where clients decide how many there are (handshakes,
admin requests), each waits for a turn, first come, first served. All others have the rest of the iteration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

MAX_DELAY_S: Final = 0.01  # per turn: what is delayed still gets about 3 % of a loop that is always busy
LOOK_AGAIN_S: Final = 0.001


def never_busy() -> bool:
    return False


class Turns:
    """A queue for turns. `await turns.next()` returns at the beginning of one."""

    def __init__(self, per_iteration: int, is_busy: Callable[[], bool] = never_busy) -> None:
        """per_iteration: at most so many pieces in one event-loop iteration.

        is_busy: asked before a turn, which is delayed while it says so, but by no more than `MAX_DELAY_S`.
        """
        self._places = trio.CapacityLimiter(per_iteration)
        self._is_busy = is_busy

    async def next(self) -> None:
        """Wait for a turn. It lasts until the task's next checkpoint."""
        async with self._places:  # to take a place is to wait for the next iteration
            give_up_at = trio.current_time() + MAX_DELAY_S
            while self._is_busy() and trio.current_time() < give_up_at:  # noqa: ASYNC110 - no event
                await trio.sleep(LOOK_AGAIN_S)
