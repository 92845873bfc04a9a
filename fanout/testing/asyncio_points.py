"""Act at the n-th point of asyncio code in a Trio program: what `points` is for Trio, behind the bridge.

For Trio such a call is one task that waits once. Its own steps are asyncio's: it can be interrupted where it
awaits a future. Each of these has two sides, as in `points`: when it has begun to wait, and when
the future is done and the task has not run yet.

    points = AsyncioPoints(act)
    call = AsyncioCall(points.of(fetch))     # follows the task that runs the call, not those that it starts
    await points.follow(fetch())             # on asyncio's own loop: those that it starts, too
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class AsyncioPoints:
    """Counts points, and calls `act` with the number of each, from 1, in a callback of asyncio's loop.

    reached: how many there were so far.
    """

    def __init__(self, act: Callable[[int], object]) -> None:
        self._act = act
        self.reached = 0

    def of(self, function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """The same coroutine function, its points counted."""

        async def followed(*args: P.args, **kwargs: P.kwargs) -> T:
            return await _Followed(function(*args, **kwargs), self._pass)

        return followed

    async def follow(self, call: Coroutine[Any, Any, T]) -> T:
        """Await it. Until then, the points of every task that is started in this loop are counted as well."""
        loop = asyncio.get_running_loop()

        def start(loop: asyncio.AbstractEventLoop, started: Any, **options: Any) -> asyncio.Task[Any]:
            return asyncio.Task(self._counted(started), loop=loop, **options)

        loop.set_task_factory(start)
        try:
            return await _Followed(call, self._pass)
        finally:
            loop.set_task_factory(None)

    async def _counted(self, started: Coroutine[Any, Any, T]) -> T:
        return await _Followed(started, self._pass)

    def _pass(self, *_: object) -> None:
        self.reached += 1
        self._act(self.reached)


class _Followed(Generic[T]):
    """Drives an awaitable by hand, as a task does, to see what it waits for."""

    def __init__(self, awaitable: Awaitable[T], on_point: Callable[..., None]) -> None:
        self._awaitable = awaitable
        self._on_point = on_point

    def __await__(self) -> Generator[Any, Any, T]:
        loop = asyncio.get_running_loop()
        steps = self._awaitable.__await__()
        error: BaseException | None = None
        while True:
            try:
                future = next(steps) if error is None else steps.throw(error)
            except StopIteration as end:
                value: T = end.value
                return value
            # Callbacks run in order: these before the task's own, which is added when it has this future.
            loop.call_soon(self._on_point)
            if future is not None:  # for `asyncio.sleep(0)` both sides are one moment
                future.add_done_callback(self._on_point)
            try:
                yield future
                error = None
            except BaseException as thrown:  # noqa: BLE001 - on its way into the code that is followed
                error = thrown
