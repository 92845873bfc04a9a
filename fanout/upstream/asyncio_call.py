"""One upstream call through an asyncio-only client. Needs the extra `fanout-server[asyncio]`, trio-asyncio.

    async def fetch(timings: CallTimings) -> Success | Failure | Cancelled: ...     # with the SDK's client

    async with open_bridge(observer):     # around the service
        call = AsyncioCall(fetch)

asyncio cancels a task once, by one `CancelledError`, and code may ignore that. With such code a call can be
on time or leave nothing behind, but not both. `docs/bridge.md` has the trade and its figures.

Rule 1: a cancelled call ends within its grace. A task that still runs then is left, counted and named.
Rule 2: the bridge cancels the task that it started and no other. It cannot distinguish a forgotten task from
        one that reads a connection which other calls use. So it only counts the other tasks that are alive
        when their call ends.
Rule 3: asyncio code runs in the service's context, never in the request's. Otherwise each connection that an
        SDK keeps would be a leaked task of the request that opened it.
Rule 4: an exception that nothing awaits is a bug, and is reported (G11). It cannot stop the loop.
Rule 5: closing the bridge takes at most `CLOSE_WITHIN_S`, whatever the SDK does (G9).
"""

from __future__ import annotations

import asyncio
import math
import sys
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar, copy_context
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

import trio

from fanout.race.events import BugFound, LeftTaskEnded, Observer, TaskLeft
from fanout.race.outcome import TOO_LATE, Cancelled, Failure, Success
from fanout.race.timings import CallTimings


class BridgeUnavailable(ImportError):
    """This installation has no bridge. The message is one line that says why, and the fix."""


if sys.version_info >= (3, 14):
    raise BridgeUnavailable(
        "the asyncio bridge needs Python 3.11, 3.12 or 3.13: trio-asyncio cannot be imported on "
        f"{sys.version_info[0]}.{sys.version_info[1]}"
    )
try:
    with warnings.catch_warnings():
        # It uses names of asyncio that 3.14 removes, and warns of that at import; the check above covers it.
        warnings.simplefilter("ignore", DeprecationWarning)
        import trio_asyncio
        from trio_asyncio import aio_as_trio, trio_as_aio
except ImportError as error:
    raise BridgeUnavailable(
        f"the asyncio bridge needs an extra: pip install 'fanout-server[asyncio]' ({error})"
    ) from None

__all__ = [
    "GRACE_MS",
    "AsyncioCall",
    "BridgeUnavailable",
    "aio_as_trio",
    "open_bridge",
    "place_of",
    "trio_as_aio",
]

Task = asyncio.Task[Any]
CoroutineFunction = Callable[[CallTimings], Coroutine[Any, Any, Success | Failure | Cancelled]]

GRACE_MS: Final = 15  # below the default time reserve, so an answer at the deadline is still on time
CLOSE_WITHIN_S: Final = 0.25  # below the second that a graceful shutdown may take beyond the last deadline
_NO_REQUEST: Final = "none"
_ASYNCIO: Final = Path(asyncio.__file__).parent


class AsyncioCall:
    """A `fanout.race.race.Call` that runs a coroutine function of asyncio.

    The function receives the call's timings and returns its outcome. It turns the errors of its client into a
    `Failure`; any other exception is a bug, even if it is raised during a cancellation. The function sends
    what `timings.headers_to_send()` gives, and returns `TOO_LATE` if that is `None`. It should mark the
    phases.
    """

    def __init__(self, function: CoroutineFunction, grace_ms: float = GRACE_MS) -> None:
        """grace_ms: how long a cancelled call may wait for its task.

        Raises `ValueError` for a grace that is not a time, and `RuntimeError` outside `open_bridge`.
        """
        if not (grace_ms >= 0 and math.isfinite(grace_ms)):
            raise ValueError(f"grace_ms={grace_ms}: give a number of milliseconds, 0 or more")
        bridge = _open_bridge.get()
        if bridge is None:
            raise RuntimeError("an AsyncioCall is made inside of: async with open_bridge(observer)")
        self._bridge = bridge
        self._function = function
        self._grace_s = grace_ms / 1000

    async def __call__(self, timings: CallTimings) -> Success | Failure | Cancelled:
        """Run the function once, as a task of the bridge.

        When the scope around it is cancelled, it cancels the task and waits for it for at most the grace.
        `timings.left` then names the tasks that are alive, and the observer receives a `TaskLeft` for each.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        tasks = self._bridge.start(self._function, timings)
        try:
            await tasks.main_ends()
        except trio.Cancelled:
            await self._end(tasks)  # noqa: ASYNC102 - it is shielded, and bounded by the grace
            if tasks.main.done() and not tasks.main.cancelled() and tasks.main.exception() is not None:
                tasks.main.result()  # raises what its clean-up has raised: a bug, and never lost
            raise
        await self._end(tasks)
        if tasks.main.cancelled():
            # Its `CancelledError` is no `Exception`, so Trio would take it for the end of the program.
            raise RuntimeError("the asyncio task was cancelled, and not by the bridge")
        outcome = tasks.main.result()
        if isinstance(outcome, Success | Failure):
            return outcome
        if outcome == TOO_LATE:
            return TOO_LATE
        raise TypeError(f"an AsyncioCall's function returns Success, Failure or TOO_LATE, not {outcome!r}")

    async def _end(self, tasks: _CallTasks) -> None:  # noqa: ASYNC910 - mostly there is nothing to wait for
        """Wait within the grace for tasks that are being cancelled, and note those that are left."""
        if tasks.are_ending():
            with trio.move_on_after(self._grace_s, shield=True):  # noqa: ASYNC912 - they were ending just now
                while tasks.are_ending():
                    await tasks.one_has_ended()
        tasks.leave()


@asynccontextmanager
async def open_bridge(observer: Observer) -> AsyncIterator[None]:
    """The asyncio loop of one service, open while the block runs. Open it around the code that makes calls.

    Inside the block, trio-asyncio's own `aio_as_trio` can run other asyncio code, for example to open and
    close the client of an SDK. Tasks that it starts belong to the service, and to no call. Import it from
    here: this module hides the warnings that the import of trio-asyncio gives on Python 3.12 and 3.13.

    observer: receives `TaskLeft`, `LeftTaskEnded` and `BugFound`.
    """
    async with trio_asyncio.open_loop() as loop:
        bridge = _Bridge(loop, observer)
        token = _open_bridge.set(bridge)
        try:
            yield
        finally:
            _open_bridge.reset(token)
            await bridge.close()  # noqa: ASYNC102 - it is shielded, and bounded by `CLOSE_WITHIN_S`


class _CallTasks:
    """The asyncio tasks of one call: `main`, which runs it, and those that it started."""

    main: asyncio.Task[Any]
    _left_at: float  # when the call was over

    def __init__(self, timings: CallTimings, observer: Observer, now: Callable[[], float]) -> None:
        self._alive: dict[Task, None] = {}
        self._left: dict[Task, str] = {}
        self._wake_the_call: Callable[[], None] | None = None
        self._one_has_ended = trio.Event()
        self._timings = timings
        self._observer = observer
        self._now = now
        self._reported: BaseException | None = None

    def add(self, task: Task) -> None:
        self._alive[task] = None
        task.add_done_callback(self._task_ended)

    async def main_ends(self) -> None:
        """Wait for `main`. A cancelled scope cancels it at the same moment, and not when this task next runs.

        So if the result and the cancellation come in one event-loop iteration, the first one counts, as
        everywhere in Trio.
        """

        def abort(_: object) -> trio.lowlevel.Abort:
            self._wake_the_call = None
            self.main.cancel("the scope around its call was cancelled")
            return trio.lowlevel.Abort.SUCCEEDED

        self._wake_the_call = partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())
        await trio.lowlevel.wait_task_rescheduled(abort)

    def are_ending(self) -> bool:
        """Whether `main` still runs, or another task that was cancelled, for example by the SDK."""
        return self.main in self._alive or any(map(Task.cancelling, self._alive))

    async def one_has_ended(self) -> None:
        self._one_has_ended = trio.Event()
        await self._one_has_ended.wait()

    def leave(self) -> None:
        """The call is over: name and report the tasks that are alive."""
        self._left = {task: place_of(task) for task in self._alive if not task.done()}
        self._left_at = self._now()
        self._timings.left = tuple(self._left.values())
        for place in self._timings.left:
            self._observer.notify(
                TaskLeft(self._timings.request_id, self._timings.call, place, self._left_at)
            )

    def _task_ended(self, task: Task) -> None:
        del self._alive[task]
        self._one_has_ended.set()
        if task is self.main and self._wake_the_call is not None:
            self._wake_the_call()
        place = self._left.pop(task, None)
        if place is None:
            return
        now, request_id, call = self._now(), self._timings.request_id, self._timings.call
        self._observer.notify(LeftTaskEnded(request_id, call, place, now - self._left_at, now))
        bug = None if task.cancelled() else task.exception()
        if bug is not None and bug is not self._reported:  # one exception may end several tasks
            self._reported = bug
            self._observer.notify(BugFound(request_id, f"a task that call {call} left: {place}", bug, now))


class _Bridge:
    """The loop of a service, its observer, and the context that asyncio code runs in."""

    def __init__(self, loop: trio_asyncio.TrioEventLoop, observer: Observer) -> None:
        self._loop = loop
        self._observer = observer
        self._now = trio.lowlevel.current_clock().current_time
        self._context = copy_context()
        self._threads = _Threads()
        self._is_closed = False
        loop.set_task_factory(_make_task)
        loop.set_exception_handler(self._report)
        loop.set_default_executor(self._threads)

    def start(self, function: CoroutineFunction, timings: CallTimings) -> _CallTasks:
        """Start the task of a call."""
        tasks = _CallTasks(timings, self._observer, self._now)
        context = self._context.copy()
        context.run(_call_tasks.set, tasks)
        tasks.main = self._loop.create_task(function(timings), context=context)
        return tasks

    async def close(self) -> None:  # noqa: ASYNC910 - mostly there is nothing to wait for
        """Cancel every task and wait for them, bounded. A task that ignores this is given up and reported.

        Otherwise trio-asyncio would wait for it, and the process would not end.
        """
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel("the bridge is closed")
        with trio.move_on_after(CLOSE_WITHIN_S, shield=True):  # noqa: ASYNC912 - as above
            for task in tasks:
                await _end_of(task)
        self._threads.abandon()
        given_up = [task for task in tasks if not task.done()]
        self._is_closed = True
        for task in given_up:
            asyncio._unregister_task(task)  # documented, for authors of task classes
        if given_up:
            places = ", ".join(map(place_of, given_up))
            bug = RuntimeError(f"asyncio tasks that ignore their cancellation were given up: {places}")
            self._observer.notify(BugFound(_NO_REQUEST, "the asyncio bridge, as it closes", bug, self._now()))

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Rule 4. By itself, trio-asyncio would end its loop, and the service with it."""
        message = context.get("message", "an error in the asyncio loop")
        bug = context.get("exception")
        if bug is None:
            if self._is_closed:  # "Task was destroyed but it is pending": it was given up, and reported
                return
            bug = RuntimeError(message)
        self._observer.notify(BugFound(_NO_REQUEST, f"the asyncio loop: {message}", bug, self._now()))


class _Threads(trio_asyncio.TrioExecutor):  # type: ignore[misc]  # trio-asyncio has no types
    """Threads of `asyncio.to_thread`. A cancelled task waits for its thread, so a left thread is counted."""

    def __init__(self) -> None:
        super().__init__()
        self._shields: dict[trio.CancelScope, None] = {}

    async def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        with trio.CancelScope(shield=True) as shield:
            self._shields[shield] = None
            try:
                return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)
            finally:
                del self._shields[shield]

    def abandon(self) -> None:
        """From now on a cancelled task does not wait for its thread."""
        for shield in self._shields:
            shield.shield = False


_open_bridge: ContextVar[_Bridge | None] = ContextVar("fanout.bridge", default=None)
_call_tasks: ContextVar[_CallTasks | None] = ContextVar("fanout.bridge.call", default=None)


def _make_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any],
    *,
    context: Context | None = None,
    **more: Any,
) -> Task:
    """The loop's task factory: a task belongs to the call in whose context it is made."""
    task: Task = asyncio.Task(coroutine, loop=loop, context=context, **more)
    tasks = _call_tasks.get() if context is None else context.get(_call_tasks)
    if tasks is not None:
        tasks.add(task)
    return task


async def _end_of(task: Task) -> None:
    ended = trio.Event()
    task.add_done_callback(lambda _: ended.set())
    await ended.wait()


def place_of(task: Task) -> str:
    """What a task runs, and where it waits: `fetch (shop/client.py:42), in connect (sdk/wire.py:639)`.

    First the function that the task was made of, then the innermost one that is not asyncio's own.
    """
    coroutine: Any = task.get_coro()
    places: list[str] = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if not isinstance(frame, FrameType):
            break
        path, code = Path(frame.f_code.co_filename), frame.f_code
        if not places or path.parent != _ASYNCIO:
            places.append(f"{code.co_qualname} ({'/'.join(path.parts[-2:])}:{frame.f_lineno})")
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    if not places:
        return repr(task.get_coro())
    return places[0] if len(places) == 1 else f"{places[0]}, in {places[-1]}"
