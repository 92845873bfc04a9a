"""The leak check: nothing that a request started is left when it is answered (G3), counted in every request.

A Trio instrument that is called when a task is spawned and when it exits, and not at each step. A context
variable says which request a task belongs to. It is read where the task is spawned, so the leak check also
finds tasks in another request's nursery, and system tasks.

Rule 1: when the first byte of the answer is about to be written, no task of the request is alive, except the
        one that writes it.
Rule 2: when a request has ended, not even that one is alive, unless it is the connection's.
Rule 3: when the answer begins, as many admission permits are taken as requests are unanswered, and no more
        upstream connections are in use than tasks of requests are alive. So a leaked connection shows at the
        latest when the last request in flight is answered.

Not covered: threads, and tasks started by a task that the request itself has not started.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

import trio
from loguru import logger


@dataclass(frozen=True, slots=True)
class LeakStatistics:
    """All since the start, except tasks_alive.

    leaked_tasks: alive when Rule 1 or 2 forbids it. leaked_connections, leaked_permits: the most connections
    and permits that there ever were too many. All three are broken guarantees.
    """

    requests: int
    tasks_spawned: int
    tasks_ended: int
    tasks_alive: int
    leaked_tasks: int
    leaked_connections: int
    leaked_permits: int


class RequestTasks:
    """One request, and how many of its tasks are alive. Made by `LeakCheck.begin`."""

    __slots__ = ("alive", "answered", "request_id")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.answered = False
        self.alive = 0


_current: ContextVar[RequestTasks | None] = ContextVar("fanout.leak_check", default=None)


class LeakCheck(trio.abc.Instrument):
    """Counts while it is installed with `trio.lowlevel.add_instrument`. Never raises for what it finds."""

    def __init__(
        self,
        permits_taken: Callable[[], int] = lambda: 0,
        connections_in_use: Callable[[], int] = lambda: 0,
    ) -> None:
        self._permits_taken = permits_taken
        self._connections_in_use = connections_in_use
        # Of each task alive, its request; `None` once it was reported as leaked.
        self._members: dict[trio.lowlevel.Task, RequestTasks | None] = {}
        self._unanswered = self._requests = self._spawned = 0
        self._leaked_tasks = self._leaked_connections = self._leaked_permits = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        request = _current.get()
        if request is not None:
            self._members[task] = request
            request.alive += 1
            self._spawned += 1

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        request = self._members.pop(task, None)
        if request is not None:
            request.alive -= 1

    def begin(self, request_id: str) -> RequestTasks:
        """A request was admitted. What the current task spawns from here on belongs to it."""
        request = RequestTasks(request_id)
        _current.set(request)
        self._requests += 1
        self._unanswered += 1  # last: if there is no memory for the rest, nothing has begun
        return request

    def answer(self, request: RequestTasks) -> None:
        """The first byte of the answer is about to be written, by the current task. Rules 1 and 3."""
        request.answered = True
        self._unanswered -= 1
        if request.alive:
            self._report(request, allowed=trio.lowlevel.current_task().parent_nursery)
        self._compare()

    def end(self, request: RequestTasks) -> None:
        """The request is over, answered or not. Called in the task that called `begin`. Rules 2 and 3."""
        _current.set(None)
        if request.alive:
            self._report(request, allowed=None)
        if not request.answered:
            self._unanswered -= 1
            self._compare()

    def statistics(self) -> LeakStatistics:
        return LeakStatistics(
            requests=self._requests,
            tasks_spawned=self._spawned,
            tasks_ended=self._spawned - len(self._members),
            tasks_alive=len(self._members),
            leaked_tasks=self._leaked_tasks,
            leaked_connections=self._leaked_connections,
            leaked_permits=self._leaked_permits,
        )

    def _report(self, request: RequestTasks, allowed: trio.Nursery | None) -> None:
        """Count each leaked task, once, and log what and where it is. allowed: its tasks are no leak."""
        for task, owner in list(self._members.items()):
            if owner is request and (allowed is None or task.parent_nursery is not allowed):
                self._leaked_tasks += 1
                self._members[task] = None
                logger.bind(request_id=request.request_id).error(
                    "task {!r} is alive although its request {}: {}",
                    task.name,
                    "was answered" if request.answered else "had ended",
                    _place_of(task),
                )

    def _compare(self) -> None:
        tokens = self._permits_taken() - self._unanswered
        if tokens > self._leaked_permits:
            self._leaked_permits = tokens
            logger.error("{} admission tokens are taken by requests that have been answered", tokens)
        connections = self._connections_in_use() - len(self._members)
        if connections > self._leaked_connections:
            self._leaked_connections = connections
            logger.error("{} upstream connections are in use by nobody", connections)


def _place_of(task: trio.lowlevel.Task) -> str:
    """What it runs, and in which nursery. To note it when it is spawned would cost every request."""
    code = getattr(task.coro, "cr_code", None)  # a coroutine that Python has not made has none
    runs = (
        repr(task.coro) if code is None else f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"
    )
    nursery = task.parent_nursery
    return (
        f"it runs {runs}"
        if nursery is None
        else f"it runs {runs} in a nursery of {nursery.parent_task.name!r}"
    )
