"""Cancel an asyncio call at its n-th point: what `fanout.testing.points` is for Trio.

A task can be interrupted where it waits, and from two sides: as it begins to wait, and as it is about to
resume because what it waits for is done. Each is a point, in the call and in the tasks that it starts.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Final

DELIVERED_WITHIN_S: Final = 0.3  # loopback hands over at once, unless the machine is very busy
LOOK_EVERY_S: Final = 0.002


class Stuck(Exception):
    """The event loop waits for something that nobody will do."""


class IdleSelector(selectors.DefaultSelector):
    """Before the event loop would wait, `on_idle` is called until something is ready. It says whether it did
    anything.

    Raises `Stuck`, out of the event loop, when nothing happens any more.
    """

    def __init__(self, on_idle: Callable[[], bool]) -> None:
        super().__init__()
        self._on_idle = on_idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        waited_s = 0.0
        while waited_s < DELIVERED_WITHIN_S:
            did_something = self._on_idle()
            ready = super().select(0 if did_something else LOOK_EVERY_S)
            waited_s = 0.0 if did_something else waited_s + LOOK_EVERY_S
            if ready or (timeout is not None and waited_s >= timeout):
                return ready
        raise Stuck


class Points:
    """Counts the points of what it follows, in `reached`. At the n-th the event loop calls `act`."""

    def __init__(self, n: int, act: Callable[[], object]) -> None:
        self._n = n
        self._act = act
        self.reached = 0

    async def follow(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Await it, and count its points and those of the tasks that are started meanwhile."""
        loop = asyncio.get_running_loop()

        def start(loop: asyncio.AbstractEventLoop, started: Any, **options: Any) -> asyncio.Task[Any]:
            return asyncio.Task(self._counted(started), loop=loop, **options)

        loop.set_task_factory(start)
        try:
            return await _Steps(call, self._pass)
        finally:
            loop.set_task_factory(None)

    async def _counted(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await _Steps(coroutine, self._pass)

    def _pass(self, *_: object) -> None:
        self.reached += 1
        if self.reached == self._n:
            self._act()


class _Steps:
    """Awaiting it awaits the coroutine. `on_point` is called between steps, not by the task itself."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], on_point: Callable[..., None]) -> None:
        self._coroutine = coroutine
        self._on_point = on_point

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._coroutine.__await__()
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                future = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as end:
                return end.value
            asyncio.get_running_loop().call_soon(self._on_point)  # it has begun to wait
            if future is not None:
                future.add_done_callback(self._on_point)  # before the task's own: it is about to resume
            try:
                value, error = (yield future), None
            except BaseException as thrown:  # noqa: BLE001 - the coroutine gets it
                value, error = None, thrown
