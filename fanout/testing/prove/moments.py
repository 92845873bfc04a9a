"""The moments of a run at which something can be chosen, as Trio and the network report them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from types import CodeType
from typing import Any, Final

import trio
import trio.testing

from fanout.testing.prove.choices import Choices, NoSuchChoice
from fanout.testing.world.trace import Trace
from fanout.testing.world.world import HORIZON_S

MAX_ITERATIONS: Final = 5000  # at one moment of virtual time; a run has about a hundred in all
_MAX_TASKS: Final = 50  # to run in one iteration
_PLACES: Final = ("2nd", "3rd", *(f"{place}th" for place in range(4, _MAX_TASKS)))
Task = trio.lowlevel.Task
Interruptions = dict[str, Callable[[], None]]


class Moments(trio.abc.Instrument):
    """Asks `choices` at every moment of a run, while it `is_on`, and does what is chosen.

    at_iterations, between_tasks: what can happen at the beginning of an iteration, and between two of its
        tasks. Asked again only when a task that is followed has run or was woken, or time has passed.
    spawned: called with each task that is followed.
    states: a fingerprint of the beginning of each iteration: the time, where each of these tasks stands, and
        what `look` returns. They are counted, and used for nothing else.
    """

    def __init__(self, choices: Choices, trace: Trace) -> None:
        self._choices = choices
        self._trace = trace
        self._nurseries: set[trio.Nursery] = set()
        self._followed: dict[Task, int] = {}  # where each of them stands
        self._has_changed = False
        self._cancel_has_changed = False
        self._at = -1.0
        self._idle_iterations = 0
        self.is_on = False
        self.misfit: NoSuchChoice | None = None
        self.error: Exception | None = None
        self.at_iterations: Callable[[], Interruptions] = dict
        self.between_tasks: Callable[[], Interruptions] = dict
        self.spawned: Callable[[Task], None] = _nothing
        self.look: Callable[[], tuple[int, ...]] = tuple
        self.states: set[int] = set()

    def follow(self, nursery: trio.Nursery) -> None:
        """The tasks that are spawned in it from now on, and those below them."""
        self._nurseries.add(nursery)

    def choose(self, alternatives: Sequence[str]) -> str | None:
        if not self.is_on or not alternatives:
            return None
        try:
            return self._choices.choose(alternatives)
        except NoSuchChoice as misfit:
            self.misfit = self.misfit or misfit
            return None

    def interrupt(self, offer: Callable[[], Interruptions]) -> None:
        """Let one thing after the other happen, in this very moment, until nothing more is chosen."""
        while self.is_on:
            interruptions = offer()
            take = self.choose(tuple(interruptions))
            if take is None:
                return
            who, _, what = take.rpartition(".")
            self._trace.add("interrupt", who or "server", what)
            interruptions[take]()

    def order(self, batch: list[Task]) -> None:
        """For `run_ordered`: the oldest task first, unless another one is chosen to run next."""
        self._idle_iterations += 1
        if self._idle_iterations > MAX_ITERATIONS:
            clock = trio.lowlevel.current_clock()
            assert isinstance(clock, trio.testing.MockClock)
            clock.jump(HORIZON_S)  # tasks run on and on, and no time passes: a world ends there
        if not self.is_on:
            return
        for place in range(len(batch) - 1):
            take = self.choose(_PLACES[: len(batch) - 1 - place])
            if take is not None:
                task = batch.pop(place + 1 + _PLACES.index(take))
                self._trace.add("runs first", task.name, batch[place].name)
                batch.insert(place, task)

    # What Trio reports. It would drop an instrument that raises.

    def after_io_wait(self, timeout: float) -> None:
        now = trio.current_time()
        if now != self._at:
            self._at, self._idle_iterations = now, 0
            self._has_changed = True
        if self.is_on and self._has_changed:
            self._has_changed = self._cancel_has_changed = False
            self.states.add(hash((now, *self._followed.values(), *self.look())))
            self._guarded(self.at_iterations)

    def before_task_step(self, task: Task) -> None:
        if self._cancel_has_changed:
            self._cancel_has_changed = False
            self._guarded(self.between_tasks)

    def after_task_step(self, task: Task) -> None:
        if task in self._followed:
            self._followed[task] = _place_of(task)
            self._has_changed = self._cancel_has_changed = True

    def task_scheduled(self, task: Task) -> None:
        if task in self._followed:
            self._has_changed = self._cancel_has_changed = True

    def task_spawned(self, task: Task) -> None:
        nursery = task.parent_nursery
        if nursery is not None and (nursery in self._nurseries or nursery.parent_task in self._followed):
            self._followed[task] = 0
            self.spawned(task)
            self._has_changed = self._cancel_has_changed = True

    def task_exited(self, task: Task) -> None:
        if self._followed.pop(task, None) is not None:
            self._has_changed = self._cancel_has_changed = True

    def _guarded(self, offer: Callable[[], Interruptions]) -> None:
        try:
            self.interrupt(offer)
        except Exception as error:  # noqa: BLE001 - Trio would log it and drop the instrument
            self.error = self.error or error


def _place_of(task: Task) -> int:
    """Where it stands: the functions that it is in, and how far it has come in each."""
    places: list[int] = []
    coroutine: Any = task.coro
    while coroutine is not None and hasattr(coroutine, "cr_frame"):
        frame = coroutine.cr_frame
        if frame is not None:
            places += (_number_of(frame.f_code), frame.f_lasti)
        coroutine = coroutine.cr_await
    return hash(tuple(places))


@cache
def _number_of(code: CodeType) -> int:
    """The same in every process, as Python's hash of a text is not."""
    return zlib.crc32(f"{code.co_qualname}:{code.co_firstlineno}".encode())


def _nothing(task: Task) -> None:
    pass
