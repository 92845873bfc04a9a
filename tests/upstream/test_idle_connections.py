"""An idle connection that its upstream has closed is closed at once, a few per iteration (G7, G10)."""

from __future__ import annotations

import gc
import itertools
import ssl
import weakref
from collections.abc import Awaitable, Callable

import httpx
import pytest
import trio
import trio.testing

from fanout.upstream.statistics import OriginStatistics
from fanout.upstream.transport import PoolTransport
from tests.upstream.raw_server import Authority, Handler, RawConnection, RawServer, answer, raw_server
from tests.upstream.scripted_wire import Later, ScriptedWire, World
from tests.upstream.test_transport_run import Passes

AUTHORITY = Authority()
OK = answer(b"{}")
TLS = pytest.mark.parametrize("tls", [None, AUTHORITY.server], ids=["plain", "tls"])


async def ends_with_its_answer(connection: RawConnection) -> None:
    await connection.request()
    await connection.send(OK)


async def ends_a_little_later(connection: RawConnection) -> None:
    await connection.request()
    await connection.send(OK)
    await trio.sleep(0.05)


async def says_something_unasked(connection: RawConnection) -> None:
    await connection.request()
    await connection.send(OK)
    await trio.sleep(0.05)
    await connection.send(OK)
    await trio.sleep_forever()


async def says_goodbye(connection: RawConnection) -> None:
    """Over TLS a close_notify, and the socket stays open; else a FIN, and the socket stays open."""
    await connection.request()
    await connection.send(OK)
    await trio.sleep(0.05)
    if isinstance(connection.stream, trio.SSLStream):
        with trio.move_on_after(0.01):
            await connection.stream.unwrap()
    elif isinstance(connection.stream, trio.SocketStream):
        await connection.stream.send_eof()
    await trio.sleep_forever()


async def call(server: RawServer, act: Callable[[PoolTransport], Awaitable[None]]) -> OriginStatistics:
    """Make one call, then `act`; the pool's statistics after it."""
    transport = PoolTransport(max_connections=100, ssl_context=AUTHORITY.client)
    async with transport, trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        await transport.handle_async_request(httpx.Request("GET", server.url()))
        await act(transport)
        [origin] = transport.statistics().origins
        nursery.cancel_scope.cancel()
    return origin


async def until_none_is_open(transport: PoolTransport) -> None:
    with trio.fail_after(5):
        while transport.statistics().origins[0].open:
            await trio.sleep(0.001)


@TLS
@pytest.mark.parametrize(
    "handler", [ends_with_its_answer, ends_a_little_later, says_something_unasked, says_goodbye]
)
async def test_an_idle_connection_is_closed_when_its_upstream_has_closed_it(
    handler: Handler, tls: ssl.SSLContext | None
) -> None:
    """G7: nobody has to want it, and it does not stay in CLOSE_WAIT until it expires."""
    async with raw_server(handler, tls) as server:
        origin = await call(server, until_none_is_open)
    assert (origin.opened, origin.in_use, origin.closed["peer"]) == (1, 0, 1)


@TLS
async def test_an_idle_connection_over_which_nothing_came_stays(tls: ssl.SSLContext | None) -> None:
    """Session tickets of TLS are news, and nothing that the upstream said."""

    async def stays(connection: RawConnection) -> None:
        while await connection.request() is not None:
            await connection.send(OK)

    async def wait(transport: PoolTransport) -> None:
        await trio.sleep(0.1)

    async with raw_server(stays, tls) as server:
        origin = await call(server, wait)
    assert (origin.open, origin.idle) == (1, 1)


async def test_after_a_restart_of_the_upstream_all_are_closed_a_few_per_iteration(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G10: thousands may end in one moment, and no call waits until they are closed. It takes no time."""
    count = 500
    wires = [ScriptedWire([Later(1, OK)]) for _ in range(count)]
    world = World(*wires, max_connections=count)
    passes = Passes(lambda: sum(bool(wire.closed) for wire in wires))
    async with trio.open_nursery() as nursery:
        await nursery.start(world.transport.run)
        async with trio.open_nursery() as calls:
            for _ in wires:
                calls.start_soon(world.get)
        assert world.origin.idle == count
        trio.lowlevel.add_instrument(passes)
        began_at = trio.current_time()
        for wire in wires:
            wire.arrive(b"")
        for _ in range(count):  # iterations, not more
            await trio.lowlevel.checkpoint()
        assert (world.origin.open, trio.current_time()) == (0, began_at)
        nursery.cancel_scope.cancel()
    assert max(after - before for before, after in itertools.pairwise(passes.seen)) <= 16
    assert world.origin.closed["peer"] == count


async def test_before_run_news_wakes_nobody_and_the_next_call_notices_it() -> None:
    first, second = ScriptedWire([OK]), ScriptedWire([OK])
    world = World(first, second)
    await world.get()
    assert first.arrive(b"") is False
    assert not first.closed
    assert (await world.get()).content == b"{}"
    assert first.closed == ["abort"]


async def test_of_news_in_one_iteration_the_first_wakes_a_task(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The event loop is told, so that it chooses its tasks again."""
    wires = [ScriptedWire([Later(1, OK)]) for _ in range(2)]
    world = World(*wires)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.transport.run)
        async with trio.open_nursery() as calls:
            for _ in wires:
                calls.start_soon(world.get)
        await trio.testing.wait_all_tasks_blocked()
        assert [wire.arrive(b"") for wire in wires] == [True, False]
        nursery.cancel_scope.cancel()


async def test_news_that_comes_as_the_task_ends_is_not_kept() -> None:
    """Nor is any after it, so a closed connection is freed."""
    count = 50  # more than one iteration handles
    wires = [ScriptedWire([Later(0.01, OK)]) for _ in range(count)]
    world = World(*wires, max_connections=count)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.transport.run)
        async with trio.open_nursery() as calls:
            for _ in range(count):
                calls.start_soon(world.get)
        for wire in wires[1:]:
            wire.arrive(b"")
        nursery.cancel_scope.cancel()
    assert wires[0].arrive(b"") is False
    freed = [*map(weakref.ref, wires)]
    del wire
    wires.clear()
    await world.transport.aclose()
    assert world.origin.open == 0
    gc.collect()
    assert {wire() for wire in freed} == {None}


async def test_a_call_that_comes_between_news_and_closing_gets_no_dead_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G7: what was taken before its turn came is its call's, and what is dead is handed to nobody."""
    first, second = ScriptedWire([OK], [OK]), ScriptedWire([OK])
    world = World(first, second)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.transport.run)
        await world.get()
        first.arrive(b"")
        assert (await world.get()).content == b"{}"
        assert first.closed == ["abort"]
        assert (world.origin.opened, world.origin.idle, world.origin.closed["peer"]) == (2, 1, 1)
        nursery.cancel_scope.cancel()


async def test_news_of_a_connection_in_use_is_its_calls_affair(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G7: the answer is being read, and the watch does not read from under it."""
    wire = ScriptedWire([Later(1, OK)])
    world = World(wire)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.transport.run)
        async with trio.open_nursery() as calls:
            calls.start_soon(world.get)
            await trio.sleep(0.5)
            wire._on_news()
            await trio.sleep(0.1)
            assert not wire.closed
        assert (world.origin.opened, world.origin.idle) == (1, 1)
        nursery.cancel_scope.cancel()


async def test_news_that_says_nothing_leaves_an_idle_connection_as_it_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What comes may be TLS's own, a session ticket or a new key; the wire is asked what was said."""
    wire = ScriptedWire([OK], [OK])
    world = World(wire)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.transport.run)
        await world.get()
        wire._on_news()
        await trio.sleep(0.1)
        assert (world.origin.idle, wire.closed) == (1, [])
        assert (await world.get()).content == b"{}"
        assert world.origin.reused == 1
        nursery.cancel_scope.cancel()


async def test_without_its_task_news_is_not_kept(autojump_clock: trio.testing.MockClock) -> None:
    """A list that nobody reads would grow for ever; the next call finds the dead ones."""
    wires = [ScriptedWire([OK]) for _ in range(2)]
    world = World(*wires)
    await world.get()
    wires[0].arrive(b"")
    assert not world.transport._news
    await world.get()
    assert world.origin.closed["peer"] == 1
