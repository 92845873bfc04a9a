"""docs/cancel-safety.md: the asyncio bridge, cancelled before, in, and after."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing

import tests.upstream.bridge  # noqa: F401 - skips this file where there is no bridge
from fanout.race.outcome import Cancelled, Failure, Success
from fanout.race.timings import CallTimings
from fanout.testing import cancel_at
from fanout.upstream.asyncio_call import CLOSE_WITHIN_S, GRACE_MS, AsyncioCall, open_bridge
from tests.upstream.reports import Reports

GOOD = Success(b"good")


async def answers(timings: CallTimings) -> Success:
    await asyncio.sleep(0.01)
    return GOOD


async def ignores(timings: CallTimings) -> Success:
    for _ in range(3):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
    return GOOD


async def test_a_call_over_the_bridge_in_a_cancelled_scope_does_not_begin(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began: list[bool] = []

    def begins(timings: CallTimings) -> Coroutine[Any, Any, Success]:
        began.append(True)
        return answers(timings)

    async with open_bridge(Reports()):
        with trio.CancelScope() as scope:
            scope.cancel()
            await AsyncioCall(begins)(CallTimings("test", 0))
        await trio.sleep(1)
    assert scope.cancelled_caught
    assert began == []


async def test_a_call_over_the_bridge_that_is_cancelled_as_it_ends_returns_its_outcome(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """At the last point of the Trio task its answer is there."""
    outcomes: list[Success | Failure | Cancelled | None] = []
    n = reached = 1
    while n <= reached:
        outcomes.append(None)

        async def call(bridged: AsyncioCall) -> None:
            outcomes[-1] = await bridged(CallTimings("test", 0))

        async with open_bridge(Reports()):
            bridged = AsyncioCall(answers)
            reached = await cancel_at(lambda: call(bridged), n)  # noqa: B023 - it is awaited here
        n += 1
    assert reached == n - 1
    assert outcomes == [None] * (len(outcomes) - 1) + [GOOD]


async def test_a_bridge_that_is_opened_in_a_cancelled_scope_leaves_nothing() -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_bridge(Reports()):
            await AsyncioCall(answers)(CallTimings("test", 0))
    assert scope.cancelled_caught
    assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_bridge_whose_block_is_cancelled_closes_in_time_and_leaves_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    before, began_at = trio.lowlevel.current_statistics().tasks_living, trio.current_time()
    reports = Reports()
    with trio.move_on_after(1) as scope:
        async with open_bridge(reports):
            await AsyncioCall(ignores)(CallTimings("test", 0))
    assert scope.cancelled_caught
    assert trio.current_time() - began_at <= 1 + GRACE_MS / 1000 + CLOSE_WITHIN_S + 0.001
    assert trio.lowlevel.current_statistics().tasks_living == before
    with pytest.raises(RuntimeError, match="open_bridge"):
        AsyncioCall(ignores)
