"""Act at the n-th point where tasks can be interrupted: the mechanism of the cancel sweeps.

A task is interrupted at its checkpoints only, and each of them can be met from two sides: as the task begins
to wait, and as it is about to run because what it waited for has happened. Each of these is a *point*. The
second is easily forgotten: the cancellation comes in the same pass of the loop, before the task has run.

A sweep counts the points of something, then does it again for each, and acts there:

    reached = await cancel_at(partial(call, client), n)   # one function, until reached < n
    with Points(act) as points: ...                       # anything, within `repeatable`

Private names of Trio are used, as its pinned version has them: `_attempt_abort` is how Trio itself delivers
Ctrl-C, so what `throw` raises comes out of the checkpoint as Trio would raise it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, NoReturn, Protocol

import outcome
import trio
import trio._core._run as trio_run

Side = Literal["blocks", "resumes"]


@dataclass(frozen=True, slots=True)
class Point:
    """One moment of one task: it begins to wait, or is about to run (for the first time, too)."""

    task: trio.lowlevel.Task
    side: Side


class Points(trio.abc.Instrument):
    """Counts the points of followed tasks, and of all tasks below them, and calls `act` at each.

    act: gets the number of the point, from 1. It is called synchronously, inside Trio's loop. What it raises
        is raised when the block is left.
    reached: how many there were so far. living: the followed tasks that have not ended.
    """

    def __init__(self, act: Callable[[int, Point], object]) -> None:
        self._act = act
        self._error: Exception | None = None
        self.reached = 0
        self.living: dict[trio.lowlevel.Task, None] = {}

    def __enter__(self) -> Points:
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.remove_instrument(self)
        if self._error is not None:
            raise self._error

    def follow(self, task: trio.lowlevel.Task) -> None:
        """Count its points from now on, and those of the tasks that it starts from now on."""
        self.living[task] = None

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        if task.parent_nursery is not None and task.parent_nursery.parent_task in self.living:
            self.living[task] = None

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.living.pop(task, None)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task in self.living:
            self._pass(Point(task, "resumes"))

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task in self.living:  # else it has ended
            self._pass(Point(task, "blocks"))

    def _pass(self, point: Point) -> None:
        self.reached += 1
        try:
            self._act(self.reached, point)
        except Exception as error:  # noqa: BLE001 - Trio would log it and drop the instrument
            self._error = self._error or error


async def cancel_at(async_fn: Callable[[], Awaitable[object]], n: int) -> int:
    """Run `async_fn` in a scope of its own, and cancel that at the n-th point, counted from 1.

    Returns how many points there were, those of tasks below it included: fewer than `n` if it never came that
    far. So a sweep ends when the return value is less than `n`.
    """

    def act(nth: int, point: Point) -> None:
        if nth == n:
            scope.cancel(reason=f"point {n}")

    with Points(act) as points, trio.CancelScope() as scope:
        points.follow(trio.lowlevel.current_task())
        await async_fn()
    return points.reached


def can_throw(point: Point) -> bool:
    """Whether an exception can come out of the checkpoint that the task is at.

    As a task begins to wait: wherever it could be cancelled. As it resumes: only instead of a `Cancelled`,
    because to raise where Trio counts on a value would be a fault that no program can have.
    """
    if point.side == "blocks":
        return point.task._abort_func is not None
    sent = point.task._next_send
    return isinstance(sent, outcome.Error) and isinstance(sent.error, trio.Cancelled)


def throw(point: Point, error: Exception) -> None:
    """Raise `error` in the task, out of the checkpoint that it is at. To be called where `can_throw`."""

    def raise_error() -> NoReturn:
        raise error

    if point.side == "blocks":
        point.task._attempt_abort(raise_error)
    else:
        point.task._next_send = outcome.Error(error)


class Shuffles(Protocol):
    """The random source that Trio asks to shuffle the tasks of one event-loop iteration, oldest first."""

    def shuffle(self, batch: list[trio.lowlevel.Task], /) -> None: ...


@contextmanager
def scheduled_by(source: Shuffles) -> Iterator[None]:
    """Around `trio.run`: `source` shuffles the tasks of each iteration. Trio is as it was when this ends."""
    before = trio_run._r, trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    _schedule(source, True)
    try:
        yield
    finally:
        _schedule(*before)


def _schedule(source: Shuffles, is_deterministic: bool) -> None:
    trio_run._r = source  # type: ignore[assignment]  # Trio asks it for nothing but `shuffle`
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = is_deterministic  # type: ignore[misc]  # it is there for this


def repeatable(seed: int) -> AbstractContextManager[None]:
    """Around `trio.run`: the order of tasks within an iteration is drawn from `seed`.

    So the same program comes to the same points in the same order. Without it that order is random.
    """
    return scheduled_by(random.Random(seed))
