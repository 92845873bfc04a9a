"""Cancel an asyncio call at its n-th point: what `fanout.testing.points` is for Trio.

A task can be interrupted where it waits, and from two sides: as it begins to wait, and as it is about to resume
because what it waits for is done. Each of these is a point, in the call and in the tasks that it starts.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Generator
from types import FrameType
from typing import Any, Final

_DELIVERED_WITHIN_S: Final = 0.3  # loopback hands over at once, unless the machine is very busy
_LOOK_EVERY_S: Final = 0.002


class Stuck(Exception):
    """The event loop waits for something that nobody will do."""


class IdleSelector(selectors.DefaultSelector):
    """Before the event loop would wait, `on_idle` is called again and again, until there is something to do.

    Raises `Stuck` out of the loop when there is nothing any more.
    """

    def __init__(self, on_idle: Callable[[], bool]) -> None:
        super().__init__()
        self._on_idle = on_idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        waited_s = 0.0
        while waited_s < _DELIVERED_WITHIN_S:
            did_something = self._on_idle()
            ready = super().select(0 if did_something else _LOOK_EVERY_S)
            if ready:
                return ready
            waited_s = 0 if did_something else waited_s + _LOOK_EVERY_S
        raise Stuck


class Points:
    """Counts the points of coroutines that it follows, and calls `act` at the n-th.

    place: where the call waited then, as frames from the outermost to the innermost.
    """

    def __init__(self, n: int, act: Callable[[], object]) -> None:
        self._n = n
        self._act = act
        self._call: Coroutine[Any, Any, Any] | None = None
        self.reached = 0
        self.place: list[tuple[str, str, int]] = []

    async def follow(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Await it, and count its points and those of the tasks that are started meanwhile."""
        loop = asyncio.get_running_loop()
        self._call = call
        loop.set_task_factory(lambda loop, started, **options: asyncio.Task(self._counted(started), loop=loop, **options))
        try:
            return await self._counted(call)
        finally:
            loop.set_task_factory(None)

    async def _counted(self, coroutine: Any) -> Any:
        return await _Steps(coroutine, self._pass)

    def _pass(self, *_: object) -> None:
        self.reached += 1
        if self.reached == self._n:
            self.place = frames_of(self._call)
            self._act()


class _Steps:
    """Awaiting it awaits the coroutine. `on_point` is called from the event loop, between steps."""

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
            except BaseException as thrown:  # noqa: BLE001 - handed on to the coroutine
                value, error = None, thrown


def frames_of(coroutine: Any) -> list[tuple[str, str, int]]:
    """File, function and line of each frame in which a suspended coroutine waits, the outermost first."""
    frames = []
    while coroutine is not None:
        frame: FrameType | None = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None) or getattr(coroutine, "ag_frame", None)
        if frame is not None:
            frames.append((frame.f_code.co_filename, frame.f_code.co_qualname, frame.f_lineno))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None) or getattr(coroutine, "ag_await", None)
    return frames
