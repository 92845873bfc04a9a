"""Trio with its own clock for tests, which jumps: the same situations, in the same form."""

from __future__ import annotations

import copy
import gc
from collections.abc import Awaitable, Callable
from functools import partial

import trio
import trio.testing

from fanout.lab.side_by_side.calls import (
    GIVE_UP_S,
    SETTLE_S,
    bug_log,
    note_error,
    rounded,
    scripted,
)
from fanout.lab.side_by_side.lines import innermost_line, running_line
from fanout.lab.side_by_side.observed import LOOK_AFTER_MS, CallSeen, Observed
from fanout.lab.side_by_side.situations import Situation
from fanout.lab.side_by_side.variants import Fanout


class TrioWorld(trio.abc.Instrument):
    """See `calls.World`. path: the file of the variant, whose lines are looked for."""

    cancelled: type[BaseException] = trio.Cancelled

    def __init__(self, path: str) -> None:
        self.path = path
        self._began_at = trio.current_time()
        self._created_at: dict[trio.lowlevel.Task, int | None] = {}
        self.request: trio.lowlevel.Task | None = None
        self.observed = Observed()
        self.nursery: trio.Nursery | None = None
        trio.lowlevel.add_instrument(self)

    def now_ms(self) -> float:
        return rounded((trio.current_time() - self._began_at) * 1000)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def shielded(self, function: Callable[[], Awaitable[None]]) -> None:
        with trio.CancelScope(shield=True):
            await function()

    def look(self) -> None:
        if self.observed.waits_at is None and self.request is not None:
            self.observed.waits_at = innermost_line(self.request.coro, self.path)

    def left(self) -> int:
        """Tasks that began since the request, wherever they belong, and have not ended."""
        left = self._created_at.keys()
        if left and self.observed.left_from is None:
            lines = [line for task in left if (line := self._created_at[task]) is not None]
            self.observed.left_from = min(lines, default=None)
        return len(left)

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        if task.parent_nursery is not self.nursery:  # the tasks in there are the observation itself
            self._created_at[task] = running_line(self.path)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._created_at.pop(task, None)


def observe(function: Fanout, situation: Situation, endpoint: str, path: str) -> Observed:
    """Run a variant once, in a loop of its own."""
    with bug_log() as log:
        observed = trio.run(
            partial(_observe, function, situation, endpoint, path),
            clock=trio.testing.MockClock(autojump_threshold=0),
        )
        gc.collect()
        observed.bugs_logged = log.bugs
    return observed


async def _observe(function: Fanout, situation: Situation, endpoint: str, path: str) -> Observed:
    return await watch(TrioWorld(path), function, situation, endpoint)


async def watch(world: TrioWorld, function: Fanout, situation: Situation, endpoint: str) -> Observed:
    """Run a variant once, in this loop."""
    observed = world.observed
    observed.calls = [CallSeen() for _ in situation.calls]
    calls = [scripted(world, *each) for each in zip(situation.calls, observed.calls, strict=True)]
    client = trio.CancelScope()
    answered = trio.Event()

    async def request() -> None:  # noqa: ASYNC910 - a variant may never reach a checkpoint
        """As a handler would: at its end, in the same step, the first byte of the answer is written."""
        world.request = trio.lowlevel.current_task()
        try:
            with client:
                try:
                    observed.value = await function(calls, situation.timeout_ms / 1000)
                finally:
                    observed.answer_given(world.now_ms())
                    observed.tasks_at_0_ms = world.left()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is what this variant does
            note_error(observed, error, world.path)
        observed.is_cancelled = client.cancelled_caught
        answered.set()

    async def at(ms: float, act: Callable[[], object]) -> None:
        await trio.sleep(ms / 1000)
        act()

    async with trio.open_nursery() as nursery:
        world.nursery = nursery
        nursery.start_soon(request)
        nursery.start_soon(at, situation.right(endpoint).due_ms + 1, world.look)
        if situation.disconnect_ms is not None:
            nursery.start_soon(at, situation.disconnect_ms, client.cancel)
        with trio.move_on_after(GIVE_UP_S):
            await answered.wait()
        await trio.sleep(LOOK_AFTER_MS / 1000)
        observed.tasks_at_50_ms = world.left()
        await trio.sleep(SETTLE_S)
        seen = copy.deepcopy(observed)  # what ends from here on, ends because the observation does
        nursery.cancel_scope.cancel()
    return seen
