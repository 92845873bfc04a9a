"""Virtual time and a seeded scheduler: the same function and seed, the same run, in any process.

Trio picks the order of tasks that are ready at the same time by chance, so that nobody relies on one. Two
private names of Trio make that chance repeat. `trio` has an upper bound, and a test watches the names.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
import trio._core._run as trio_run
import trio.testing

from fanout.observe.loop import LoopWatch

T = TypeVar("T")


def run_seeded(main: Callable[[trio.testing.MockClock], Awaitable[T]], seed: int) -> T:
    """Run `main(clock)` in virtual time, which begins at 0 and jumps whenever nothing is left to do.

    Trio is as it was when this returns: other runs in the process have their own chance again.
    """
    chance: random.Random = trio_run._r
    before, allowed = chance.getstate(), trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    chance.seed(seed)
    clock = trio.testing.MockClock(autojump_threshold=0)
    try:
        return trio.run(main, clock, clock=clock)
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = allowed  # type: ignore[misc]
        chance.setstate(before)


def pending_deadlines() -> int:
    """How many deadlines are registered in the running loop."""
    return int(trio_run.GLOBAL_RUN_CONTEXT.runner.deadlines._active)


class VirtualLoopWatch(LoopWatch):
    """The service's watch on the length of passes, where the clock is virtual.

    Trio's mock clock jumps at the beginning of a pass, after the wait for I/O is said to be over; that jump
    is the wait. So here a pass begins with its first step, and takes the time for which it was stalled.
    """

    def __init__(self, clock: trio.testing.MockClock) -> None:
        super().__init__(clock.current_time)
        self._is_beginning = False

    def after_io_wait(self, timeout: float) -> None:
        self._is_beginning = True

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_beginning:
            self._is_beginning = False
            super().after_io_wait(0)

    def before_io_wait(self, timeout: float) -> None:
        if not self._is_beginning:
            super().before_io_wait(timeout)
