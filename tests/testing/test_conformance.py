"""The scripted call and the real one pass the same suite, so the script can be trusted."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import pytest
import trio

from fanout.race.outcome import Failure, Success
from fanout.race.race import Call
from fanout.race.timings import CallTimings
from fanout.testing import CallConformance, ScriptedCall
from fanout.testing.conformance import MakeCall
from fanout.tools.simulator import Overrides, Simulator, SimulatorSettings
from fanout.upstream.call import UpstreamCall
from fanout.upstream.tls import client_context
from fanout.upstream.transport import PoolTransport

GOOD = Success(b'{"time": 7}')
BEHAVIOURS = {
    "answers": (ScriptedCall(0, GOOD), Overrides(delay_ms=7, fault="none")),
    "fails": (ScriptedCall(0, Failure("bad_status", 503)), Overrides(delay_ms=0, fault="status", status=503)),
    "hangs": (ScriptedCall(math.inf, GOOD), Overrides(delay_ms=0, fault="hang_before_head")),
}


class TestScriptedCall(CallConformance):
    @pytest.fixture
    def make_call(self) -> MakeCall:
        async def make(behaviour: str) -> Call:
            return BEHAVIOURS[behaviour][0]

        return make


class TestUpstreamCall(CallConformance):
    """Over real sockets, to the simulated upstream."""

    @pytest.fixture
    async def make_call(self, nursery: trio.Nursery) -> AsyncIterator[MakeCall]:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        simulator = Simulator(SimulatorSettings(faults={}))
        await nursery.start(simulator.serve, [listener])
        transport = PoolTransport(max_connections=10, ssl_context=client_context())

        async def make(behaviour: str) -> Call:
            simulator.set_slot("s", BEHAVIOURS[behaviour][1])
            call = UpstreamCall(transport, f"http://127.0.0.1:{port}/api/work?slot=s")
            with trio.move_on_after(0.05):
                await call(CallTimings("test", 0))  # warm: what a test counts is what its own calls leave
            return call

        async with transport:
            yield make
            assert [origin.in_use for origin in transport.statistics().origins] == [0]
