"""When a worker that died is started again: at once the first time, ever later while it keeps dying young.

Rule 1: however a worker ends, the loop pauses before the next one. It is never a busy loop.
Rule 2: once a stop was asked for, nothing is started.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 10.0
GROWN_UP_S: Final = 10.0  # who lived that long was fine, and the next pause is the first again


def next_pause_s(last_pause_s: float, lived_s: float) -> float:
    """The pause after a worker that lived for `lived_s`. last_pause_s: the pause before it, 0 for none."""
    if last_pause_s == 0 or lived_s >= GROWN_UP_S:
        return FIRST_PAUSE_S
    return min(last_pause_s * 2, LONGEST_PAUSE_S)


async def keep_running(
    run_once: Callable[[], Awaitable[str]], died: Callable[[str, float], object], stop: trio.Event
) -> None:
    """Run a worker, and another one whenever it ends, until `stop` is set and the last one has ended.

    run_once: from start to end; returns how it ended, in words. Told of the stop by other means.
    died: called with those words and the pause in seconds, when nobody had asked for the end.
    """
    pause_s = 0.0
    while not stop.is_set():
        started_at = trio.current_time()
        how = await run_once()
        if stop.is_set():
            return
        pause_s = next_pause_s(pause_s, trio.current_time() - started_at)
        died(how, pause_s)
        with trio.move_on_after(pause_s):
            await stop.wait()
    await trio.lowlevel.checkpoint()
