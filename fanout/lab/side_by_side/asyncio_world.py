"""asyncio with a clock that jumps: plain asyncio, by its public names. Time passes only while it waits.

Rule 1: nothing here or below imports trio_asyncio: importing it replaces asyncio's loop, and this is about
        asyncio's own.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final
from weakref import WeakKeyDictionary

from fanout.lab.side_by_side.calls import (
    GIVE_UP_S,
    HANGS_S,
    SETTLE_S,
    bug_log,
    note_error,
    plain,
    rounded,
    scripted,
)
from fanout.lab.side_by_side.lines import innermost_line, running_line
from fanout.lab.side_by_side.observed import LOOK_AFTER_MS, CallSeen, Observed
from fanout.lab.side_by_side.situations import Situation
from fanout.lab.side_by_side.variants import Fanout

_IMMORTAL: Final[list[asyncio.Runner]] = []  # with tasks that no cancellation ends
_BUSY: Final = 1000  # iterations without waiting that count as a millisecond, or a busy loop would stop time


class JumpingSelector(selectors.SelectSelector):
    """When the loop would wait for a timer, time jumps to it instead. now: seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._busy = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(None if timeout is None else 0)
        if timeout is not None and timeout > 0:
            self._busy = 0
            self.now += 0 if ready else timeout
        else:
            self._busy += 1
            if self._busy % _BUSY == 0:
                self.now += 0.001
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class AsyncioWorld:
    """See `calls.World`. path: the file of the variant, whose lines are looked for.

    has_anyio: it uses anyio, so its calls have anyio's shield.
    """

    cancelled = asyncio.CancelledError

    def __init__(self, path: str, has_anyio: bool) -> None:
        self._has_anyio = has_anyio
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._began_at = self._loop.time()
        self._created_at: WeakKeyDictionary[asyncio.Task[Any], int | None] = WeakKeyDictionary()
        self.request: Coroutine[Any, Any, None] | None = None
        self.observed = Observed()
        self._loop.set_task_factory(self._new_task)

    def now_ms(self) -> float:
        return rounded((self._loop.time() - self._began_at) * 1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def shielded(self, function: Callable[[], Awaitable[None]]) -> None:
        if self._has_anyio:
            import anyio

            with anyio.CancelScope(shield=True):
                await function()
            return

        async def run() -> None:
            await function()

        task = asyncio.create_task(run())
        await asyncio.shield(task)

    def look(self) -> None:
        if self.observed.waits_at is None and self.request is not None:
            self.observed.waits_at = innermost_line(self.request, self._path)

    def left(self, before: set[asyncio.Task[Any]]) -> int:
        left = asyncio.all_tasks() - before
        if left and self.observed.left_from is None:
            lines = [line for task in left if (line := self._created_at.get(task)) is not None]
            self.observed.left_from = min(lines, default=None)
        return len(left)

    def _new_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        line = running_line(self._path)
        if line is None and (creator := asyncio.current_task(loop)) is not None:
            line = self._created_at.get(creator)
        self._created_at[task] = line
        return task


def observe(function: Fanout, situation: Situation, endpoint: str, path: str) -> Observed:
    """Run a variant once, in a loop of its own."""
    with bug_log() as log:
        runner = asyncio.Runner(loop_factory=JumpingLoop)
        observed = runner.run(_observe(function, situation, endpoint, path))
        if asyncio.all_tasks(runner.get_loop()):
            _IMMORTAL.append(runner)  # to close it would wait for them
        else:
            runner.close()
        gc.collect()  # asyncio reports an exception that was never retrieved when its task is collected
        observed.bugs_logged = log.bugs
    return observed


async def _observe(function: Fanout, situation: Situation, endpoint: str, path: str) -> Observed:
    world = AsyncioWorld(path, has_anyio="anyio" in getattr(function, "__globals__", ()))
    observed = world.observed
    observed.calls = [CallSeen() for _ in situation.calls]
    calls = [scripted(world, *each) for each in zip(situation.calls, observed.calls, strict=True)]
    before = asyncio.all_tasks()

    async def request() -> None:  # noqa: ASYNC910 - a variant may never reach a checkpoint
        """As a handler would: at its end, in the same step, the first byte of the answer is written."""
        try:
            observed.value = plain(await function(calls, situation.timeout_ms / 1000))
        except asyncio.CancelledError:  # noqa: ASYNC103 - asyncio's, and the last step of its task
            observed.is_cancelled = True
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is what this variant does
            note_error(observed, error, path)
        observed.answer_given(world.now_ms())
        observed.tasks_at_0_ms = world.left(before | {task})

    world.request = request()
    task = asyncio.create_task(world.request)
    due_s = situation.right(endpoint).due_ms / 1000
    asyncio.get_running_loop().call_later(due_s + 0.001, world.look)
    if situation.disconnect_ms is not None:
        asyncio.get_running_loop().call_later(situation.disconnect_ms / 1000, task.cancel)
    await asyncio.wait([task], timeout=GIVE_UP_S)
    await asyncio.sleep(LOOK_AFTER_MS / 1000)
    observed.tasks_at_50_ms = world.left(before | {task})
    await asyncio.sleep(SETTLE_S)
    seen = copy.deepcopy(observed)  # what ends from here on, ends because the observation does
    if left := asyncio.all_tasks() - before:
        for each in left:
            each.cancel()
        await asyncio.wait(left, timeout=2 * HANGS_S)
    return seen
