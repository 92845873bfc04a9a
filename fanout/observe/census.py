"""The census: nothing a request started is left when it is answered (G3), counted in every request.

A Trio instrument on the spawn and the exit of tasks, nothing a step. Tasks are attributed by a context
variable, read where they are spawned, so it finds also those that were put into somebody else's nursery
or among the system tasks.

Rule 1: as the first byte of the answer is about to be written, no task of the request is alive, but the one
        that writes it.
Rule 2: when a request has ended, not even that one, unless it is the connection's.
Rule 3: at the first of the two moments there are as many admission tokens taken as requests unanswered, and
        no more upstream connections in use than tasks of requests alive. So a leaked connection shows at
        the latest when the last request in flight is answered.

Not covered: threads, and tasks started by a task that the request itself has not started.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from types import CodeType
from typing import Final

import trio
from loguru import logger

_SPAWNER: Final = 4  # frames up: Instruments.call, spawn_impl, start_soon, and who called that


@dataclass(frozen=True, slots=True)
class CensusStatistics:
    """All since the start but tasks_alive.

    orphans: tasks that were alive when Rule 1 or 2 forbade it. connections_left, tokens_left: the most
    by which there were ever too many of them. All three are broken promises.
    """

    requests: int
    tasks_spawned: int
    tasks_ended: int
    tasks_alive: int
    orphans: int
    connections_left: int
    tokens_left: int


class Household:
    """One request, and how many of its tasks are alive. Made by `Census.begin`."""

    __slots__ = ("alive", "answered", "request_id")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.answered = False
        self.alive = 0


_household: ContextVar[Household | None] = ContextVar("fanout.census", default=None)


class Census(trio.abc.Instrument):
    """Counts while it is installed with `trio.lowlevel.add_instrument`. Never raises for what it finds."""

    def __init__(
        self,
        tokens_taken: Callable[[], int] = lambda: 0,
        connections_in_use: Callable[[], int] = lambda: 0,
    ) -> None:
        self._tokens_taken = tokens_taken
        self._connections_in_use = connections_in_use
        # Of each task alive: whose it is, and where it was spawned, as code and instruction.
        self._births: dict[trio.lowlevel.Task, tuple[Household, CodeType, int]] = {}
        self._strays = Household("")  # whose the orphans are, once they are reported
        self._unanswered = self._requests = self._spawned = 0
        self._orphans = self._connections_left = self._tokens_left = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        household = _household.get()
        if household is not None:
            spawner = sys._getframe(_SPAWNER)
            self._births[task] = household, spawner.f_code, spawner.f_lasti
            household.alive += 1
            self._spawned += 1

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        birth = self._births.pop(task, None)
        if birth is not None:
            birth[0].alive -= 1

    def begin(self, request_id: str) -> Household:
        """A request was admitted. What the current task spawns from here on belongs to it."""
        self._requests += 1
        self._unanswered += 1
        household = Household(request_id)
        _household.set(household)
        return household

    def answer(self, household: Household) -> None:
        """The first byte of the answer is about to be written, by the current task. Rules 1 and 3."""
        household.answered = True
        self._unanswered -= 1
        if household.alive:
            self._report(household, beside=trio.lowlevel.current_task().parent_nursery)
        self._compare()

    def end(self, household: Household) -> None:
        """The request is over, answered or not. Called in the task that called `begin`. Rules 2 and 3."""
        _household.set(None)
        if household.alive:
            self._report(household, beside=None)
        if not household.answered:
            self._unanswered -= 1
            self._compare()

    def statistics(self) -> CensusStatistics:
        return CensusStatistics(
            requests=self._requests,
            tasks_spawned=self._spawned,
            tasks_ended=self._spawned - len(self._births),
            tasks_alive=len(self._births),
            orphans=self._orphans,
            connections_left=self._connections_left,
            tokens_left=self._tokens_left,
        )

    def _report(self, household: Household, beside: trio.Nursery | None) -> None:
        """Count each orphan, once, and say where it comes from."""
        for task, (whose, code, instruction) in list(self._births.items()):
            if whose is household and (beside is None or task.parent_nursery is not beside):
                self._orphans += 1
                self._births[task] = self._strays, code, instruction
                household.alive -= 1
                logger.bind(request_id=household.request_id).error(
                    "task {!r} is alive although its request {}: spawned in {} ({}:{})",
                    task.name,
                    "was answered" if household.answered else "had ended",
                    code.co_qualname,
                    code.co_filename,
                    _line_of(code, instruction),
                )

    def _compare(self) -> None:
        tokens = self._tokens_taken() - self._unanswered
        if tokens > self._tokens_left:
            self._tokens_left = tokens
            logger.error("{} admission tokens are taken by requests that have been answered", tokens)
        connections = self._connections_in_use() - len(self._births)
        if connections > self._connections_left:
            self._connections_left = connections
            logger.error("{} upstream connections are in use by nobody", connections)


def _line_of(code: CodeType, instruction: int) -> int | None:
    """The line of an instruction: nothing else about a task takes as long to find out."""
    return next(islice(code.co_positions(), instruction // 2, None))[0]
