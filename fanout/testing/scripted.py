"""Calls that follow a script: `answers(after_ms=100)`, `fails(after_ms=50, error="broken")`, `hangs()`, …"""

from __future__ import annotations

import math
from dataclasses import dataclass

import trio

from fanout.race.outcome import Failure, Success
from fanout.race.timings import CallTimings


@dataclass(eq=False, slots=True)
class ScriptedCall:
    """A `fanout.race.race.Call` that does what it is told.

    after_ms: how long it takes; infinity hangs until cancelled.
    ending: what it returns, or the exception it raises.
    cleanup_ms: time that its clean-up takes, shielded, as a careless call's would.
    cleanup_error: raised by its clean-up, as a careless call's would be.
    swallow_ms: it catches its cancellation once and continues for this time, as a careless call would.
    started, running: how often it was started, and how many of those have not ended.
    """

    after_ms: float
    ending: Success | Failure | Exception
    cleanup_ms: float = 0
    cleanup_error: Exception | None = None
    swallow_ms: float = 0
    started: int = 0
    running: int = 0

    async def __call__(self, timings: CallTimings) -> Success | Failure:
        self.started += 1
        self.running += 1
        try:
            try:
                await trio.sleep(self.after_ms / 1000)
            except trio.Cancelled:  # noqa: ASYNC103 - a call that tries to swallow it
                if not self.swallow_ms:
                    raise
                # Trio raises Cancelled again at once.
                await trio.sleep(self.swallow_ms / 1000)  # noqa: ASYNC102 - and so does this
            if isinstance(self.ending, Exception):
                raise self.ending
            return self.ending
        finally:
            if self.cleanup_ms:
                with trio.CancelScope(shield=True):
                    await trio.sleep(self.cleanup_ms / 1000)
            self.running -= 1
            if self.cleanup_error is not None:
                raise self.cleanup_error


def answers(after_ms: float, payload: bytes | None = None) -> ScriptedCall:
    """Succeeds after `after_ms`, as the upstream does: with `{"time": after_ms}` unless told otherwise."""
    return ScriptedCall(after_ms, Success(b'{"time": %d}' % after_ms if payload is None else payload))


def fails(after_ms: float, error: str = "bad_status", status: int | None = None) -> ScriptedCall:
    """Fails after `after_ms`."""
    return ScriptedCall(after_ms, Failure(error, status))


def hangs() -> ScriptedCall:
    """Never ends by itself."""
    return ScriptedCall(math.inf, Failure("unreachable"))


def crashes(after_ms: float, bug: Exception | None = None) -> ScriptedCall:
    """Raises an exception nobody expects, as a bug would."""
    return ScriptedCall(after_ms, ZeroDivisionError("a scripted bug") if bug is None else bug)
