"""A transport that fails, at each call in turn and in every way: it costs its own connection and no more.

A socket raises an `OSError`, of which a transport makes a `BrokenResourceError`; a machine without memory
raises a `MemoryError`; and a bug raises anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.api.problems import render
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.server.serve import Connections
from fanout.server.statistics import End
from tests.server.apps import Echo
from tests.server.serving import NOON, Client, MemoryTransport, get

FAULTS: Final = {
    "broken": trio.BrokenResourceError,
    "an OSError": OSError,
    "no memory": MemoryError,
    "a bug": KeyError,
}
LIMITS: Final = Limits(head_timeout_s=1, idle_timeout_s=3, body_timeout_s=1, linger_timeout_s=1)


class FaultyTransport(MemoryTransport):
    """Raises at the n-th call. `calls` counts them."""

    def __init__(self, stream: Any, fails_at: int, fault: Callable[[], Exception]) -> None:
        super().__init__(stream)
        self.calls = 0
        self._fails_at = fails_at
        self._fault = fault

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self._fails_at:
            raise self._fault()

    async def handshake(self) -> str | None:
        self._call()
        return await super().handshake()

    def send_now(self, data: bytes) -> bool:
        self._call()
        return super().send_now(data)

    async def flush(self) -> None:
        self._call()
        await super().flush()

    async def receive(self) -> bytes:
        self._call()
        return await super().receive()

    def watch(self, client_left: Callable[[], None]) -> None:
        self._call()

    def has_bytes(self) -> bool:
        self._call()
        return super().has_bytes()

    async def send_eof(self) -> None:
        self._call()
        await super().send_eof()

    def close(self) -> None:
        if self._fault is not trio.BrokenResourceError:  # it guarantees to raise nothing, least of all that
            self._call()
        super().close()

    abort = close


async def keep_alive(client: Client, driver: Driver) -> None:
    for _ in range(2):
        await client.ask(get())
    await client.stream.aclose()


async def slow_head(client: Client, driver: Driver) -> None:
    await client.send(b"G")
    await client.rest()


async def idle(client: Client, driver: Driver) -> None:
    await client.rest()


async def malformed(client: Client, driver: Driver) -> None:
    await client.send(b"GET\r\n\r\n")
    await client.rest()


async def last(client: Client, driver: Driver) -> None:
    await client.send(get("/", "Connection: close") + b"behind")
    await client.rest()


async def draining(client: Client, driver: Driver) -> None:
    await client.ask(get())
    driver.drain()
    await client.rest()


async def draining_while_busy(client: Client, driver: Driver) -> None:
    await client.send(get("/slow"))
    await trio.sleep(0.1)
    driver.drain()
    await client.rest()


SITUATIONS: Final = {
    act.__name__: act for act in (keep_alive, slow_head, idle, malformed, last, draining, draining_while_busy)
}


async def visit(
    situation: Callable[[Client, Driver], Awaitable[None]],
    fails_at: int,
    fault: Callable[[], Exception],
    *,
    has_room: bool = True,
) -> tuple[FaultyTransport, Driver, list[BaseException]]:
    """One connection beside a bystander's. What it leaves is looked at here."""
    crashes: list[BaseException] = []
    limits = LIMITS if has_room else Limits(max_connections=0, linger_timeout_s=1)
    driver = Driver(limits, on_crash=crashes.append, render=render, wall_clock=lambda: NOON)
    theirs, ours = trio.testing.memory_stream_pair()
    transport = FaultyTransport(ours, fails_at, fault)

    async def act() -> None:
        with trio.move_on_after(20):
            with suppress(trio.BrokenResourceError, AssertionError):  # the connection may suffer
                await situation(Client(theirs), driver)
        await theirs.aclose()

    async with trio.open_nursery() as background:
        background.start_soon(driver.run)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Connections(Echo(), driver, {}).hold, transport)
            nursery.start_soon(act)
        if has_room:
            theirs, ours = trio.testing.memory_stream_pair()
            background.start_soon(Connections(Echo(), driver, {}).hold, MemoryTransport(ours))
            driver.timeouts.draining = False
            assert (await Client(theirs).ask(get()))[0] == 200
        background.cancel_scope.cancel()
    return transport, driver, crashes


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("situation", SITUATIONS.values(), ids=SITUATIONS.keys())
async def test_whatever_a_transport_raises_costs_one_connection(
    situation: Callable[[Client, Driver], Awaitable[None]],
    fault: Callable[[], Exception],
    autojump_clock: MockClock,
) -> None:
    """G10. At each call of the connection's life; and a client that is gone is no bug."""
    sound, _, _ = await visit(situation, 0, fault)
    assert sound.calls >= 2
    for fails_at in range(1, sound.calls + 1):
        _, driver, crashes = await visit(situation, fails_at, fault)
        statistics = driver.statistics()
        assert (statistics.open, statistics.waiting) == (0, 0)
        assert sum(statistics.ended.values()) == statistics.accepted == 2
        assert all(isinstance(crash, fault) for crash in crashes)  # type: ignore[arg-type]  # each is a class
        assert len(crashes) <= (fault is not trio.BrokenResourceError)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_whatever_is_raised_while_a_connection_is_rejected_stays_there(
    fault: Callable[[], Exception], autojump_clock: MockClock
) -> None:
    """G10. A health check that resets at once is enough of a client for that."""
    sound, _, _ = await visit(idle, 0, fault, has_room=False)
    for fails_at in range(1, sound.calls + 1):
        _, driver, crashes = await visit(idle, fails_at, fault, has_room=False)
        assert set(driver.statistics().ended) <= {End.OVER_LIMIT, End.CLIENT_DISCONNECTED, End.CRASHED}
        assert sum(driver.statistics().ended.values()) == 1
        assert len(crashes) <= (fault is not trio.BrokenResourceError)
