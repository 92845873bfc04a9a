"""G10: many connections that are due at the same moment end a few at a time, so that nobody waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fanout.server.limits import Limits
from fanout.server.timeouts import ENDS_AT_ONCE
from tests.server.apps import Echo
from tests.server.serving import MemoryWorld, in_memory

_CLIENTS = 200
_LIMITS = Limits(head_timeout_s=10, idle_timeout_s=75, linger_timeout_s=1, drain_grace_s=0.5)


async def half_a_head(world: MemoryWorld) -> float:
    for _ in range(_CLIENTS):
        await world.connect().send(b"G")
    return 10


async def nothing(world: MemoryWorld) -> float:
    for _ in range(_CLIENTS):
        world.connect()
    return 75


async def nonsense(world: MemoryWorld) -> float:
    for _ in range(_CLIENTS):
        await world.connect().send(b"nonsense\r\n\r\n")
    return 1


@pytest.mark.parametrize(
    ("begin", "end"), [(half_a_head, "slow_head"), (nothing, "idle"), (nonsense, "refused")]
)
async def test_waits_that_begin_together_end_one_after_the_other(
    begin: Callable[[MemoryWorld], Awaitable[float]], end: str, autojump_clock: MockClock
) -> None:
    """Of 1,500 half heads, 700 and more timed out in one event-loop iteration of 63 ms."""
    async with in_memory(Echo(), _LIMITS) as world:
        began = trio.current_time()
        due_at = began + await begin(world)
        await wait_all_tasks_blocked()
        assert trio.current_time() == began
        assert await most_in_one_iteration(world) <= ENDS_AT_ONCE
        assert trio.current_time() < due_at + 0.1
    assert world.ended == {end: _CLIENTS}


async def test_idle_connections_are_drained_a_few_at_a_time_and_within_the_grace(
    autojump_clock: MockClock,
) -> None:
    """G9, G10: whoever is still to get an answer does not wait until all idle ones are closed."""
    async with in_memory(Echo(), _LIMITS) as world:
        await nothing(world)
        await wait_all_tasks_blocked()
        world.driver.drain()
        now = trio.current_time()
        assert await most_in_one_iteration(world) <= ENDS_AT_ONCE
        assert trio.current_time() < now + 0.5
    assert world.ended == {"drained": _CLIENTS}


class Ends(trio.abc.Instrument):
    """How many connections ended in one event-loop iteration, at most."""

    def __init__(self, world: MemoryWorld) -> None:
        self._driver = world.driver
        self._open = world.driver.statistics().open
        self.most = 0

    def before_io_wait(self, timeout: float) -> None:
        before, self._open = self._open, self._driver.statistics().open
        self.most = max(self.most, before - self._open)


async def most_in_one_iteration(world: MemoryWorld) -> int:
    """When all have ended."""
    ends = Ends(world)
    trio.lowlevel.add_instrument(ends)
    while world.driver.statistics().open:  # noqa: ASYNC110 - in virtual time
        await trio.sleep(0.01)
    trio.lowlevel.remove_instrument(ends)
    return ends.most
