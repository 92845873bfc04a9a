"""docs/cancel-safety.md: what is true of each public call when it is cancelled before, in, or after it."""

from __future__ import annotations

import ast
import os
import socket
import threading
from collections.abc import Sequence
from functools import partial

import httpx
import pytest
import trio
import trio.testing

from fanout.loop.sockets import sockets
from fanout.race.outcome import Cancelled, Failure, Success
from fanout.race.timings import CallTimings
from fanout.testing import cancel_at
from fanout.upstream import pool
from fanout.upstream import resolver as resolver_module
from fanout.upstream.answer import Answer
from fanout.upstream.call import UpstreamCall
from fanout.upstream.connect import dial, first_to_connect, why_unreachable
from fanout.upstream.messages import Origin, request_bytes
from fanout.upstream.phases import ignore_phase
from fanout.upstream.resolver import Resolver, look_up_in_thread
from fanout.upstream.tls import TlsSessions, TlsWire
from fanout.upstream.transport import PoolTransport, exchange
from fanout.upstream.wire import Address, Wire
from tests.upstream.raw_server import RawConnection, answer, raw_server
from tests.upstream.scripted_wire import URL, Later, ScriptedWire, World
from tests.upstream.test_dead_address import swallows_connects
from tests.upstream.test_resolver import ScriptedDns, first_address
from tests.upstream.test_tls import AUTHORITY, ServerSide

OK = answer(b"{}")
PAYLOAD = b'{"time":1}'


def open_files() -> int:
    """In a run of Trio, whose own are there when it is asked for the first time."""
    sockets()
    return len(os.listdir("/proc/self/fd"))


def test_nothing_in_the_pool_can_be_cancelled() -> None:
    """G7: no checkpoint, so no moment in which a slot is taken and not yet noted."""
    with open(pool.__file__, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    awaits = ast.AsyncFunctionDef | ast.AsyncWith | ast.AsyncFor | ast.Await
    assert [node for node in ast.walk(tree) if isinstance(node, awaits)] == []


async def test_a_cancel_as_the_answer_arrives_does_not_lose_it() -> None:
    """The last point of a call: its answer is there. It returns it, and the connection is used again."""

    async def answers(connection: RawConnection) -> None:
        while await connection.request() is not None:
            await connection.send(answer(PAYLOAD))

    outcomes: list[Success | Failure | Cancelled | None] = []
    n = reached = 1
    while n <= reached:
        outcomes.append(None)
        async with raw_server(answers) as server:
            transport = PoolTransport(max_connections=1)
            call = UpstreamCall(transport, server.url())

            async def run(call: UpstreamCall = call) -> None:
                outcomes[-1] = await call(CallTimings("test", 0))

            async with transport:
                reached = await cancel_at(run, n)
                [origin] = transport.statistics().origins
                has_answer = outcomes[-1] is not None
                assert (origin.in_use, origin.idle) == (0, int(has_answer))
                assert origin.closed["cancelled"] + origin.cancelled_connects == int(not has_answer)
        n += 1
    assert reached == n - 1  # the last run was cancelled, too: as it resumed with the answer
    assert outcomes == [None] * (len(outcomes) - 1) + [Success(PAYLOAD)]


async def test_the_bytes_of_a_request_are_there_also_in_a_cancelled_scope() -> None:
    """Nothing is taken, and nothing waited for. `_answer` comes next, and what it takes it gives back."""
    with trio.CancelScope() as scope:
        scope.cancel()
        assert (await request_bytes(httpx.Request("POST", URL, content=b"abc"))).endswith(b"\r\n\r\nabc")
    assert not scope.cancelled_caught


async def test_a_transport_is_closed_also_when_its_closing_is_cancelled() -> None:
    wire = ScriptedWire([OK])
    world = World(wire)
    await world.get()
    with trio.CancelScope() as scope:
        scope.cancel()
        await world.transport.aclose()
    assert scope.cancelled_caught
    assert wire.closed == ["close"]
    with pytest.raises(RuntimeError, match="the transport is closed"):
        await world.get()


async def test_a_transport_that_stops_to_run_leaves_no_task_and_calls_to_addresses_go_on() -> None:
    """Cancelled at each point of its start, and while it waits."""
    n = 1
    while True:
        world = World(ScriptedWire([OK], [OK]))
        await world.get()
        before = trio.lowlevel.current_statistics().tasks_living

        async def run(world: World = world) -> None:
            async with trio.open_nursery() as nursery:
                await nursery.start(world.transport.run)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

        reached = await cancel_at(run, n)
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert (await world.get()).content == b"{}"
        assert (world.origin.opened, world.origin.idle) == (1, 1)
        with pytest.raises(RuntimeError, match="is not running"):
            await world.get(url="http://upstream.test/")
        if reached < n:
            break
        n += 1
    assert n > 10


async def test_a_look_up_goes_on_when_the_call_that_waits_for_it_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It belongs to the service (G12), so the next call finds its answer."""
    dns = ScriptedDns((2, ["192.0.2.1"]))
    resolver = Resolver(dns)
    async with trio.open_nursery() as nursery:
        await nursery.start(resolver.run)
        with trio.move_on_after(1) as scope:
            await first_address(resolver)
        assert scope.cancelled_caught
        assert await first_address(resolver) == "192.0.2.1"
        assert (trio.current_time(), dns.look_ups) == (2, [0])
        nursery.cancel_scope.cancel()


async def test_a_known_address_is_given_also_in_a_cancelled_scope(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """There is nothing to wait for. The next checkpoint of the call is the one that raises."""
    resolver = Resolver(ScriptedDns((0, ["192.0.2.1"])))
    async with trio.open_nursery() as nursery:
        await nursery.start(resolver.run)
        await first_address(resolver)
        with trio.CancelScope() as scope:
            scope.cancel()
            assert await first_address(resolver) == "192.0.2.1"
            assert await resolver.addresses("192.0.2.9", 80) == ((socket.AF_INET, ("192.0.2.9", 80)),)
        assert not scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_a_resolver_that_stops_ends_its_look_ups_and_says_that_it_does_not_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    dns = ScriptedDns()  # every look-up hangs
    resolver = Resolver(dns)
    async with trio.open_nursery() as nursery:
        await nursery.start(resolver.run)
        resolver.want("upstream", 80)
        await trio.testing.wait_all_tasks_blocked()
        assert dns.at_a_time == 1
        nursery.cancel_scope.cancel()
    assert dns.at_a_time == 0
    with pytest.raises(RuntimeError, match="not running"):
        await first_address(resolver)


async def test_a_look_up_in_a_cancelled_scope_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *about: asked.append(about))
    with trio.CancelScope() as scope:
        scope.cancel()
        await look_up_in_thread("upstream.test", 80)
    assert scope.cancelled_caught
    assert asked == []


async def test_a_cancelled_look_up_returns_at_once_and_its_thread_ends_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release, entered, left = threading.Event(), threading.Event(), threading.Event()

    def hang(*_: object) -> Sequence[object]:
        entered.set()
        release.wait(30)
        left.set()
        return []

    monkeypatch.setattr("socket.getaddrinfo", hang)
    with trio.fail_after(5), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look_up_in_thread, "upstream.test", 80)
            while not entered.is_set():
                await trio.sleep(0.001)
            scope.cancel()
    assert scope.cancelled_caught
    assert not left.is_set()
    release.set()
    with trio.fail_after(5):
        while resolver_module._threads.borrowed_tokens:  # it gives its place back to an event loop that runs
            await trio.sleep(0.001)
    assert left.is_set()


async def test_a_cancelled_dial_leaves_no_socket() -> None:
    """Cancelled before it begins, and at each point of a connect that is never answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with swallows_connects(port):
            where: Address = (socket.AF_INET, ("127.0.0.2", port))
            files = open_files()
            with trio.CancelScope() as scope:
                scope.cancel()
                await dial(where)
            assert scope.cancelled_caught
            assert open_files() == files
            assert await cancel_at(partial(dial, where), 1) >= 1
            assert open_files() == files


async def test_a_dial_that_connects_at_once_returns_its_wire_also_in_a_cancelled_scope() -> None:
    """It does not wait, so it returns the wire. The next checkpoint of the code that called it raises."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        files = open_files()
        with trio.CancelScope() as scope:
            scope.cancel()
            wire = await dial((socket.AF_INET, listening.getsockname()))
            wire.abort()
        assert not scope.cancelled_caught
        assert open_files() == files


async def test_a_race_of_connects_in_a_cancelled_scope_leaves_no_wire() -> None:
    wires: list[ScriptedWire] = []

    async def dial_at_once(address: Address) -> Wire:
        wires.append(ScriptedWire())
        return wires[-1]

    both: list[Address] = [(socket.AF_INET, (host, 80)) for host in ("192.0.2.1", "192.0.2.2")]
    with trio.CancelScope() as scope:
        scope.cancel()
        await first_to_connect(both, dial_at_once, [])
    assert scope.cancelled_caught
    assert [wire.closed for wire in wires] == [["abort"]]


async def test_a_look_at_an_upstream_that_is_cancelled_leaves_no_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        files = open_files()
        n = reached = 1
        while n <= reached:
            reached = await cancel_at(partial(why_unreachable, url), n)
            assert open_files() == files
            n += 1
        assert await why_unreachable(url) is None
        assert open_files() == files
    assert n > 3


class Slow(ServerSide):
    """It delivers what it has to say in two halves, and the second only when it may."""

    def __init__(self) -> None:
        super().__init__(AUTHORITY.server)
        self.may_go_on = trio.Event()
        self._halves: list[bytes] | None = None

    def say(self, text: bytes) -> None:
        self.tls.write(text)
        record = self.receive_nowait()
        assert record is not None
        self._halves = [record[:9], record[9:]]

    async def receive(self) -> bytes:
        if self._halves is None:
            return await super().receive()
        await trio.lowlevel.checkpoint()
        if len(self._halves) == 1:
            await self.may_go_on.wait()
        return self._halves.pop(0)


async def test_a_tls_wire_loses_nothing_when_it_is_cancelled_in_the_middle_of_a_record() -> None:
    server = Slow()
    wire = TlsWire(server, TlsSessions(AUTHORITY.client), Origin("https", "localhost", 443))
    await wire.handshake()
    server.say(PAYLOAD)
    for cancelled_after_s in (0, 0.01):  # before the first half, and in the second
        with trio.move_on_after(cancelled_after_s) as scope:
            await wire.receive()
        assert scope.cancelled_caught
    server.may_go_on.set()
    assert await wire.receive() == PAYLOAD


async def test_an_exchange_in_a_cancelled_scope_may_have_sent_its_request() -> None:
    """What fits is sent without a checkpoint. So a cancelled call has to be stopped before, as `get` does."""
    wire = ScriptedWire([OK])
    with trio.CancelScope() as scope:
        scope.cancel()
        await exchange(wire, False, b"request", Answer("GET", 100), ignore_phase)
    assert scope.cancelled_caught
    assert wire.sent == [b"request"]


async def test_a_call_that_is_cancelled_while_it_sends_closes_its_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A part of the request may be sent, so nothing else can be said over it."""

    class Stuck(ScriptedWire):
        async def send_all(self, data: bytes) -> None:
            await trio.sleep_forever()

    wire = Stuck([Later(1, OK)])
    world = World(wire)
    with trio.move_on_after(1) as scope:
        await world.get()
    assert scope.cancelled_caught
    assert wire.closed == ["abort"]
    assert world.origin.in_use == 0
