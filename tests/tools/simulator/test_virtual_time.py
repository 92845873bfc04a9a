"""The simulator runs over in-memory streams in virtual time, exactly: the simulated world stands on this."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing

from fanout.tools.simulator import Simulator, SimulatorSettings
from fanout.tools.simulator.connection import MAX_WAITING
from fanout.tools.simulator.draws import Draws
from fanout.tools.simulator.jobs import REFUSED_MS
from fanout.tools.simulator.right_answers import IDLE_MS
from tests.tools.simulator.memory_wire import MemoryWire, memory_wires

GET = b"GET /api/work HTTP/1.1\r\n\r\n"


@asynccontextmanager
async def connected(simulator: Simulator) -> AsyncIterator[MemoryWire]:
    client, server = memory_wires()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(simulator.serve_stream, server)
        yield client
        client.close()


async def test_answers_come_after_exactly_the_drawn_delay(autojump_clock: trio.testing.MockClock) -> None:
    simulator = Simulator(SimulatorSettings(faults={}))
    draws = Draws(simulator.settings)
    async with connected(simulator) as client:
        for n in range(1, 11):
            started = trio.current_time()
            await client.send_all(GET)
            await client.receive_some()
            assert trio.current_time() - started == pytest.approx(draws.call(n).delay_ms / 1000, abs=1e-9)
    assert [call.answered_ms for call in simulator.calls()] == [draws.call(n).delay_ms for n in range(1, 11)]


async def test_a_drip_is_evenly_spread(autojump_clock: trio.testing.MockClock) -> None:
    simulator = Simulator(SimulatorSettings(min_delay_ms=100, max_delay_ms=100, faults={}))
    async with connected(simulator) as client:
        await client.send_all(GET.replace(b"work", b"work?fault=drip&drip_ms=2000"))
        times = []
        data = b""
        while b"}" not in data:
            data += await client.receive_some(1)
            times.append(trio.current_time())
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert steps == pytest.approx([2.0 / len(data)] * len(steps))
    assert simulator.calls()[0].answered_ms == pytest.approx(2100)


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_the_leave_of_a_client_costs_no_time(how: str, autojump_clock: trio.testing.MockClock) -> None:
    simulator = Simulator(SimulatorSettings(faults={}))
    async with connected(simulator) as client:
        started = trio.current_time()
        await client.send_all(GET.replace(b"work", b"work?delay_ms=60000"))
        await trio.sleep(1.25)
        client.close() if how == "fin" else client.reset()
    assert trio.current_time() - started == pytest.approx(1.25)  # the server is done with it, too
    (call,) = simulator.calls()
    assert (call.end, call.client_closed_how, call.client_closed_ms) == ("client_closed", how, 1250)


@pytest.mark.parametrize(
    ("fault", "what"),
    [("rst_before_head", "rst"), ("fin_before_head", "fin"), ("cut_after_answer", "fin")],
)
async def test_the_simulator_ends_an_in_memory_connection_its_way(
    fault: str, what: str, autojump_clock: trio.testing.MockClock
) -> None:
    simulator = Simulator(SimulatorSettings(faults={}))
    async with connected(simulator) as client:
        await client.send_all(GET.replace(b"work", f"work?fault={fault}".encode()))
        if what == "rst":
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()
        else:
            while await client.receive_some():
                pass


async def test_requests_that_wait_are_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """One is running, so many wait, the next is refused, and the rest is not even counted."""
    simulator = Simulator(SimulatorSettings(faults={}))
    async with connected(simulator) as client:
        await client.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(GET * (MAX_WAITING + 50))
        data = b""
        while piece := await client.receive_some():
            data += piece
    assert data.count(b"HTTP/1.1 200 OK") == MAX_WAITING + 1
    assert data.count(b"HTTP/1.1 429 Too Many Requests") == 1
    assert data.endswith(b'"100 requests wait already"}')
    assert simulator.statistics().calls == MAX_WAITING + 1


async def test_a_refused_client_has_time_to_read_why(autojump_clock: trio.testing.MockClock) -> None:
    """A kernel that closes with bytes unread resets, and takes the reason away. So the simulator reads on."""
    simulator = Simulator(SimulatorSettings(faults={}))
    async with connected(simulator) as client:
        await client.send_all(b"garbage\r\n\r\n")
        assert (await client.receive_some()).startswith(b"HTTP/1.1 400 ")
        refused_at = trio.current_time()
        for _ in range(5):
            await trio.sleep(0.01)
            await client.send_all(b"more garbage" * 1000)
        assert await client.receive_some() == b""
        assert trio.current_time() - refused_at == pytest.approx(REFUSED_MS / 1000)
    assert simulator.statistics().connections_ended == {"server_close": 1}


async def test_a_request_that_crosses_the_end_of_its_connection_leaves_no_open_call(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The server ends the idle connection in the very moment in which the next request comes."""
    simulator = Simulator(SimulatorSettings(min_delay_ms=0, max_delay_ms=0, faults={}))
    for _ in range(50):  # the order of the two within the pass is random
        async with connected(simulator) as client:
            await client.send_all(GET.replace(b"work", b"work?fault=close_idle"))
            await client.receive_some()
            await trio.sleep(IDLE_MS / 1000)
            with suppress(trio.BrokenResourceError):
                client.send_now(GET)
            assert await client.receive_some() == b""
    statistics = simulator.statistics()
    assert (statistics.connections_ended, statistics.calls_open) == ({"server_close": 50}, 0)
