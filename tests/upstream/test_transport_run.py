"""What the transport does beside its calls, and what a call leaves in it: nothing."""

from __future__ import annotations

import gc
import itertools
import socket
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import httpx
import pytest
import trio
import trio.testing

from fanout.upstream.answer import Answer
from fanout.upstream.errors import BodyTooLarge
from fanout.upstream.transport import PoolTransport
from fanout.upstream.wire import Address, Wire
from tests.upstream.raw_server import answer
from tests.upstream.scripted_wire import URL, Later, Script, ScriptedWire, World

OK = answer(b"{}")


class Passes(trio.abc.Instrument):
    """What a count was at the end of every pass of the loop."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self.seen = [count()]

    def before_io_wait(self, timeout: float) -> None:
        self.seen.append(self._count())


async def test_the_sweep_lets_others_run_between_its_batches(autojump_clock: trio.testing.MockClock) -> None:
    """G2: after a burst thousands may expire at once, and running calls must not wait for that."""
    wires = [ScriptedWire([Later(1, OK)]) for _ in range(250)]
    world = World(*wires, max_connections=250)
    passes = Passes(lambda: sum(bool(wire.closed) for wire in wires))
    async with trio.open_nursery() as nursery:
        await nursery.start(world.transport.run)
        async with trio.open_nursery() as calls:
            for _ in wires:
                calls.start_soon(world.get)
        trio.lowlevel.add_instrument(passes)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert passes.seen[-1] == 250
    assert max(after - before for before, after in itertools.pairwise(passes.seen)) <= 16


async def test_the_names_of_the_origins_are_looked_up_before_any_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """G12: the first call finds an address, or one look-up that is under way."""
    looked_up = set()

    async def look_up(host: str, port: int) -> Sequence[Address]:
        looked_up.add((host, port))
        return [(socket.AF_INET, ("192.0.2.1", port))]

    transport = PoolTransport(
        max_connections=1, origins=["http://a.test/work", "https://b.test:8443/"], look_up=look_up
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert looked_up == {("a.test", 80), ("b.test", 8443)}


async def test_its_tasks_say_what_they_do(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever looks at the tasks of a service finds no `PoolTransport._close_expired`."""
    async with trio.open_nursery() as nursery:
        await nursery.start(World().transport.run)
        [task] = nursery.child_tasks
        [inner] = task.child_nurseries
        assert {task.name for task in inner.child_tasks} == {
            "resolve upstream names",
            "close expired connections",
            "close connections that an upstream has closed",
        }
        nursery.cancel_scope.cancel()


async def test_calls_of_every_origin_are_counted_while_they_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World(*(ScriptedWire([Later(1, OK)]) for _ in range(3)))
    async with trio.open_nursery() as nursery:
        for host in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            nursery.start_soon(world.get, "GET", f"http://{host}/work")
        await trio.testing.wait_all_tasks_blocked()
        assert world.transport.connections_in_use() == 3
    assert world.transport.connections_in_use() == 0


@pytest.mark.parametrize("script", [[OK], [OK[:9], OK[9:]]], ids=["whole", "in pieces"])
async def test_an_answer_is_freed_with_its_call_and_not_by_the_garbage_collector(script: Script) -> None:
    """A cycle per call would be collected later, all at once, while every other call waits."""

    def living() -> int:
        return sum(isinstance(thing, Answer) for thing in gc.get_objects())

    world = World(ScriptedWire(script))
    gc.collect()
    gc.disable()
    try:
        before = living()
        await world.get()
        assert living() == before
    finally:
        gc.enable()


async def test_to_close_is_a_checkpoint() -> None:
    with trio.testing.assert_checkpoints():
        await World().transport.aclose()


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
async def test_unless_told_otherwise_an_answer_may_have_a_mebibyte(more: int, fits: bool) -> None:
    whole = answer(bytes(2**20 + more))
    wire = ScriptedWire([whole[start : start + 2**14] for start in range(0, len(whole), 2**14)])

    async def dial(address: Address) -> Wire:
        await trio.lowlevel.checkpoint()
        return wire

    transport = PoolTransport(max_connections=1, dial=dial)
    with nullcontext() if fits else pytest.raises(BodyTooLarge):
        await transport.handle_async_request(httpx.Request("GET", URL))
    assert wire.closed == ([] if fits else ["abort"])
