"""Virtual time and a seeded scheduler: the same function and seed, the same run, in any process.

Trio picks the order of tasks that are ready at the same time by chance, so that nobody relies on one.
`points.scheduled_by` makes that chance repeat, by private names of Trio. `trio` has an upper bound, and a
test watches the names.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
import trio._core._run as trio_run
import trio.testing

from fanout.observe.loop import LoopWatch
from fanout.testing.points import Shuffles, scheduled_by

T = TypeVar("T")


Order = Callable[[list[trio.lowlevel.Task]], None]
"""Gets the tasks of one event-loop iteration, oldest first. It puts them in the order in which they run."""


def run_seeded(main: Callable[[trio.testing.MockClock], Awaitable[T]], seed: int) -> T:
    """Run `main(clock)` in virtual time, which begins at 0 and jumps whenever nothing is left to do.

    Trio is as it was when this returns: other runs in the process have their own chance again.
    """
    return _run(main, random.Random(seed))


def run_ordered(main: Callable[[trio.testing.MockClock], Awaitable[T]], order: Order) -> T:
    """As `run_seeded`, but `order` decides the order of tasks, and not chance."""
    return _run(main, _Ordered(order))


class _Ordered:
    """Instead of the random source that Trio asks to shuffle the tasks, oldest first, of an iteration."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def shuffle(self, batch: list[trio.lowlevel.Task], /) -> None:
        self._order(batch)
        batch.reverse()  # Trio takes them from the end


def _run(main: Callable[[trio.testing.MockClock], Awaitable[T]], source: Shuffles) -> T:
    clock = trio.testing.MockClock(autojump_threshold=0)
    with scheduled_by(source):
        return trio.run(main, clock, clock=clock)


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
