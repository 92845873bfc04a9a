"""Scripted calls, written once and run on both event loops, so both get exactly the same situation."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from fanout.lab.side_by_side.lines import raised_line
from fanout.lab.side_by_side.observed import CallSeen, Observed
from fanout.lab.side_by_side.retry import tried_twice
from fanout.lab.side_by_side.situations import CLEAN_UP_MS, Script
from fanout.lab.timeline import End

HANGS_S: Final = 3600.0  # for ever, as far as any observation goes
GIVE_UP_S: Final = 60.0  # what has not answered by then never does
SETTLE_S: Final = 2.0  # after the last look: clean-ups that were left end, and bugs are logged


class ScriptedBug(Exception):
    """Raised by a clean-up. It is not lost if the handler or the log receives it."""


class World(Protocol):
    """What differs between asyncio and Trio. cancelled: what a cancellation is raised as."""

    @property
    def cancelled(self) -> type[BaseException]: ...

    def now_ms(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    async def shielded(self, function: Callable[[], Awaitable[None]]) -> None:
        """Await it behind the library's shield."""

    def look(self) -> None:
        """Note where the variant waits at this moment, because a clean-up has ended badly."""


def scripted(world: World, script: Script, seen: CallSeen) -> Callable[[], Awaitable[Any]]:
    """The call as variants get it, and as `--try` hands it to a reader's function."""

    async def call() -> Any:
        seen.began_ms = world.now_ms()
        try:
            payload = await _with_habit(world, script, seen)
        except BaseException as error:
            bad: End = "bug" if isinstance(error, ScriptedBug) else "failure"
            seen.end = "cancelled" if isinstance(error, world.cancelled) else bad
            raise
        else:
            seen.end = "success"
            return payload
        finally:
            seen.ended_ms = world.now_ms()

    return call


async def _with_habit(world: World, script: Script, seen: CallSeen) -> Any:
    match script.habit:
        case "swallows":
            return await tried_twice(lambda: _fetch(world, script))
        case "raises":
            try:
                return await _fetch(world, script)
            except world.cancelled:
                world.look()
                raise ScriptedBug from None
        case "waits":
            try:
                return await _fetch(world, script)
            finally:
                await world.shielded(lambda: _clean_up(world, seen))
        case "waits unshielded":
            try:
                return await _fetch(world, script)
            finally:
                await _clean_up(world, seen)
        case _:
            return await _fetch(world, script)


async def _fetch(world: World, script: Script) -> Any:
    await world.sleep(HANGS_S if script.after_ms is None else script.after_ms / 1000)
    if script.fails:
        raise ConnectionError("the upstream failed")
    return script.payload


async def _clean_up(world: World, seen: CallSeen) -> None:
    seen.clean_up_began_ms = world.now_ms()
    try:
        await world.sleep(CLEAN_UP_MS / 1000)
    except world.cancelled:
        seen.clean_up_cut = True
        world.look()
        raise
    finally:
        seen.clean_up_ended_ms = world.now_ms()


def leaves_of(error: BaseException | None) -> Iterator[BaseException]:
    """The exceptions that are no groups."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves_of(inner)
    elif error is not None:
        yield error


def plain(value: Any) -> Any:
    """The value that a variant returned, in JSON's own types."""
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return repr(value)


def note_error(observed: Observed, error: BaseException, path: str) -> None:
    """Note what a verdict needs of an exception that a variant raised. path: its file."""
    leaves = list(leaves_of(error))
    observed.errors = [type(leaf).__name__ for leaf in leaves]
    observed.said = ", ".join(f"{type(leaf).__name__}: {leaf}".removesuffix(": ") for leaf in leaves)
    observed.bugs_raised = sum(isinstance(leaf, ScriptedBug) for leaf in leaves)
    observed.raised_at = raised_line(error, path)


class BugLog(logging.Handler):
    """Counts the bugs that are logged: by asyncio's own handler of lost exceptions, or by a variant."""

    def __init__(self) -> None:
        super().__init__()
        self.bugs = 0

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.bugs += sum(isinstance(leaf, ScriptedBug) for leaf in leaves_of(error))


@contextmanager
def bug_log() -> Iterator[BugLog]:
    """Instead of the handlers of this process: nothing is printed."""
    root = logging.getLogger()
    before, log = root.handlers, BugLog()
    root.handlers = [log]
    try:
        yield log
    finally:
        root.handlers = before


def rounded(ms: float) -> float:
    """To a microsecond: below it is the arithmetic of the clock, not the event loop."""
    return round(ms, 3)
