"""The call over the asyncio bridge passes the suite of every call. `aio_as_trio` alone does not.

In virtual time with scripted asyncio code, so all times are exact; and over real sockets with aiohttp.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, Final

import aiohttp
import pytest
import trio
from trio.abc import Clock

import tests.upstream.bridge  # noqa: F401 - skips this file where there is no bridge
from fanout.race.outcome import Failure, Success
from fanout.race.race import Call
from fanout.race.timings import CallTimings
from fanout.testing import CallConformance
from fanout.testing.conformance import (
    CLEAN_UP_S,
    IGNORES_FOR_S,
    PHASES,
    CleanUpBug,
    InVirtualTime,
    MakeCall,
)
from fanout.upstream.asyncio_call import GRACE_MS, AsyncioCall, aio_as_trio, open_bridge
from tests.upstream.hanging import hanging_urls
from tests.upstream.reports import Reports

GOOD = Success(b'{"time": 7}')
FOREVER_S: Final = 3600.0
Function = Callable[[CallTimings], Coroutine[Any, Any, Success | Failure]]


async def answers(timings: CallTimings) -> Success:
    await asyncio.sleep(0)
    return GOOD


async def fails(timings: CallTimings) -> Failure:
    await asyncio.sleep(0)
    return Failure("bad_status", 503)


async def hangs(timings: CallTimings) -> Success:
    await asyncio.sleep(FOREVER_S)
    return GOOD


async def swallows(timings: CallTimings) -> Success:
    try:
        await asyncio.sleep(FOREVER_S)
    except asyncio.CancelledError:
        await asyncio.sleep(IGNORES_FOR_S)
    return GOOD


async def clean_up_raises(timings: CallTimings) -> Success:
    try:
        await asyncio.sleep(FOREVER_S)
    finally:
        raise CleanUpBug


async def clean_up_waits(timings: CallTimings) -> Success:
    try:
        await asyncio.sleep(FOREVER_S)
    finally:
        await asyncio.sleep(CLEAN_UP_S)
    return GOOD


async def forgets_a_task(timings: CallTimings) -> Success:
    FORGOTTEN.append(asyncio.create_task(asyncio.sleep(FOREVER_S)))
    return GOOD


FORGOTTEN: list[asyncio.Task[None]] = []  # asyncio itself keeps weak references only
CARELESS: dict[str, Function] = {
    "forgets_a_task": forgets_a_task,
    "swallows": swallows,
    "clean_up_raises": clean_up_raises,
    "clean_up_waits": clean_up_waits,
}
SCRIPTED: dict[str, Function] = {
    "answers": answers,
    "fails": fails,
    **dict.fromkeys(PHASES, hangs),
    **CARELESS,
}


class AsyncioConformance(CallConformance):
    """asyncio's tasks count, too."""

    def alive(self) -> int:
        return super().alive() + len(asyncio.all_tasks(asyncio.get_running_loop()))

    async def test_a_task_that_a_call_starts_and_forgets_is_named(
        self, make_call: MakeCall, clock: Clock | None
    ) -> None:
        alive, timings = self.alive(), CallTimings("test", 0)
        assert await (await make_call("forgets_a_task"))(timings) == GOOD
        await self.check_what_is_left(alive, timings)


async def fetch(session: aiohttp.ClientSession, url: str, timings: CallTimings) -> Success | Failure:
    async with session.get(url) as response:
        body = await response.read()
        return Success(body) if response.status == 200 else Failure("bad_status", response.status)


async def over_aiohttp(nursery: trio.Nursery, wrap: Callable[[Function], Call]) -> AsyncIterator[MakeCall]:
    async with hanging_urls(nursery) as urls, open_bridge(Reports()):
        no_timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
        async with aio_as_trio(aiohttp.ClientSession(timeout=no_timeout)) as session:

            async def make(behaviour: str) -> Call:
                if behaviour in CARELESS:
                    return wrap(CARELESS[behaviour])
                return wrap(partial(fetch, session, urls[behaviour]))

            yield make  # noqa: ASYNC119 - pytest-trio runs its fixtures to their ends


class TestAsyncioCall(InVirtualTime, AsyncioConformance):
    """Late by at most the grace, and exactly by it."""

    grace_s = GRACE_MS / 1000

    @pytest.fixture
    async def make_call(self) -> AsyncIterator[MakeCall]:
        async def make(behaviour: str) -> Call:
            return AsyncioCall(SCRIPTED[behaviour])

        async with open_bridge(Reports()):
            yield make


class TestAsyncioCallOverAiohttp(AsyncioConformance):
    """Over real sockets. A longer grace: a busy machine may need 15 ms for itself."""

    grace_s = 0.25

    @pytest.fixture
    async def make_call(self, nursery: trio.Nursery) -> AsyncIterator[MakeCall]:
        async for make in over_aiohttp(nursery, partial(AsyncioCall, grace_ms=self.grace_s * 1000)):
            yield make


def fails_because(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(raises=pytest.RaisesGroup(AssertionError), strict=True, reason=reason)


def naive(function: Function) -> Call:
    """What trio-asyncio offers by itself: the call waits for its asyncio task, however long that takes."""
    call: Call = aio_as_trio(function)
    return call


class Naive(AsyncioConformance):
    """What fails here does so in the server too: the answer is late, and the leak check finds a task."""

    grace_s = GRACE_MS / 1000

    @fails_because("it waits until its task has ended")
    async def test_a_call_that_swallows_its_cancellation_ends_within_the_grace(
        self, make_call: MakeCall, clock: Clock | None
    ) -> None:
        await super().test_a_call_that_swallows_its_cancellation_ends_within_the_grace(make_call, clock)

    @fails_because("nothing counts what it leaves")
    async def test_a_task_that_a_call_starts_and_forgets_is_named(
        self, make_call: MakeCall, clock: Clock | None
    ) -> None:
        await super().test_a_task_that_a_call_starts_and_forgets_is_named(make_call, clock)


class TestNaiveCall(InVirtualTime, Naive):
    @pytest.fixture
    async def make_call(self) -> AsyncIterator[MakeCall]:
        async def make(behaviour: str) -> Call:
            return naive(SCRIPTED[behaviour])

        async with open_bridge(Reports()):
            yield make


class TestNaiveCallOverAiohttp(Naive):
    @pytest.fixture
    async def make_call(self, nursery: trio.Nursery) -> AsyncIterator[MakeCall]:
        async for make in over_aiohttp(nursery, naive):
            yield make

    @fails_because("what reads the kept connection is a task of the request that opened it")
    @pytest.mark.parametrize("behaviour", ["answers", "fails"])
    async def test_what_a_call_keeps_for_the_next_one_is_not_its_requests(
        self, make_call: MakeCall, clock: Clock | None, behaviour: str
    ) -> None:
        await super().test_what_a_call_keeps_for_the_next_one_is_not_its_requests(make_call, clock, behaviour)
