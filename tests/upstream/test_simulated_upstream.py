"""The real call over the real transport against the simulated upstream: every fault, plain and TLS, and then
many of them at once, most of them cancelled.

CALLS=10000 make test ARGS="--timeout=0 tests/upstream/test_simulated_upstream.py"    the long form
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel

from fanout.loop.sockets import sockets
from fanout.race.outcome import Failure, Success
from fanout.race.timings import CallTimings
from fanout.tools.simulator import Overrides, Simulator, SimulatorSettings
from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS
from fanout.tools.simulator.faults import FAULTS
from fanout.upstream.call import MAX_PAYLOAD_BYTES, UpstreamCall
from fanout.upstream.transport import PoolTransport
from tests.upstream.raw_server import Authority

CALLS = int(os.environ.get("CALLS", "400"))
AT_A_TIME = 20
AUTHORITY = Authority()
HANGS_S = 0.3  # a call that has not ended by then hangs; a fault shows within milliseconds


@asynccontextmanager
async def upstream(
    settings: SimulatorSettings, *, tls: bool
) -> AsyncIterator[tuple[Simulator, str, PoolTransport]]:
    """A simulator on a free port, its origin, and a transport that trusts it."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    crashes: list[BaseException] = []
    simulator = Simulator(settings, on_crash=crashes.append)
    transport = PoolTransport(
        max_connections=AT_A_TIME, max_body_bytes=MAX_PAYLOAD_BYTES, ssl_context=AUTHORITY.client
    )
    async with trio.open_nursery() as nursery:
        context = AUTHORITY.server if tls else None
        nursery.start_soon(lambda: simulator.serve([listener], ssl_context=context))
        await nursery.start(transport.run)
        async with transport:
            yield simulator, f"{'https' if tls else 'http'}://localhost:{port}", transport
        nursery.cancel_scope.cancel()
    assert crashes == []


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", FAULTS)
async def test_every_fault_means_what_the_table_says(name: str, tls: bool) -> None:
    """On a new connection and, if it is kept, on a reused one; and the next call succeeds (G7)."""
    async with upstream(SimulatorSettings(faults={}), tls=tls) as (simulator, origin, transport):
        call = UpstreamCall(transport, f"{origin}/api/work?slot=s")
        expected = FAULTS[name].kind
        for _ in range(2):
            simulator.set_slot("s", Overrides(delay_ms=1, fault=name, drip_ms=20))
            outcome = None
            with trio.move_on_after(HANGS_S if expected == "hang" else 5):
                outcome = await call(CallTimings("test", 0))
            if expected is None:
                assert isinstance(outcome, Success)
            else:
                assert (outcome.error if isinstance(outcome, Failure) else "hang") == expected
            simulator.set_slot("s", Overrides(delay_ms=1, fault="none"))
            assert isinstance(await call(CallTimings("test", 0)), Success)
        (statistics,) = transport.statistics().origins
        assert (statistics.in_use, statistics.connecting) == (0, 0)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", CONNECTION_FAULTS)
async def test_every_fault_of_a_connection_means_what_the_table_says(name: str, tls: bool) -> None:
    settings = SimulatorSettings(faults={}, min_delay_ms=1, max_delay_ms=1)
    async with upstream(settings.changed({"connection_faults": {name: 1}}), tls=tls) as (
        simulator,
        origin,
        transport,
    ):
        call = UpstreamCall(transport, f"{origin}/api/work")
        expected = CONNECTION_FAULTS[name].kind_over(tls=tls)
        outcome = None
        with trio.move_on_after(HANGS_S if expected == "hang" else 5):
            outcome = await call(CallTimings("test", 0))
        if expected is None:
            assert isinstance(outcome, Success)
        else:
            assert (outcome.error if isinstance(outcome, Failure) else "hang") == expected
        simulator.apply(settings)
        assert isinstance(await call(CallTimings("test", 0)), Success)
        (statistics,) = transport.statistics().origins
        assert (statistics.in_use, statistics.connecting) == (0, 0)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_many_cancelled_calls_leave_nothing(tls: bool) -> None:
    """G7: descriptors, tasks and statistics return to where they began."""
    dice = random.Random(7)
    seen: Counter[str] = Counter()
    rates = {name: 0.4 / len(FAULTS) for name in FAULTS}
    settings = SimulatorSettings(seed=7, min_delay_ms=0, max_delay_ms=20, faults=rates)
    files, tasks = open_files(), trio.lowlevel.current_statistics().tasks_living
    async with upstream(settings, tls=tls) as (_, origin, transport):
        call = UpstreamCall(transport, f"{origin}/api/work?drip_ms=20")
        numbers = iter(range(CALLS))

        async def client() -> None:
            for _ in numbers:
                word = "cancelled"
                # Some have time enough to end on their own, however busy the machine is; what hangs does not.
                limit_s = 1.0 if dice.random() < 0.1 else dice.uniform(0, 0.1 if tls else 0.03)
                with trio.move_on_after(limit_s):
                    outcome = await call(CallTimings("test", 0))
                    word = "success" if isinstance(outcome, Success) else "failure"
                seen[word] += 1

        async with trio.open_nursery() as nursery:
            for _ in range(AT_A_TIME):
                nursery.start_soon(client)
        (statistics,) = transport.statistics().origins
        assert (statistics.in_use, statistics.connecting) == (0, 0)
        assert statistics.open == statistics.idle
        assert statistics.opened == statistics.open + sum(statistics.closed.values())
    assert sum(seen.values()) == CALLS
    assert min(seen["success"], seen["failure"], seen["cancelled"]) > 0
    with trio.fail_after(5):
        while open_files() > files or trio.lowlevel.current_statistics().tasks_living > tasks:
            await trio.sleep(0.001)


def open_files() -> int:
    """In a run of Trio, whose own are there when it is asked for the first time."""
    sockets()
    return len(os.listdir("/proc/self/fd"))
