"""The scripted call and the real one pass the same suite, so the script can be trusted.

The call over the asyncio bridge passes it in tests/upstream/test_asyncio_conformance.py.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

import httpx
import pytest
import trio

from fanout.race.outcome import Failure, Success
from fanout.race.race import Call
from fanout.race.timings import CallTimings
from fanout.testing import CallConformance, ScriptedCall
from fanout.testing.conformance import (
    CLEAN_UP_S,
    IGNORES_FOR_S,
    PHASES,
    CleanUpBug,
    InVirtualTime,
    MakeCall,
)
from fanout.upstream.call import UpstreamCall
from fanout.upstream.tls import client_context
from fanout.upstream.transport import PoolTransport
from tests.upstream.hanging import hanging_urls

GOOD = Success(b'{"time": 7}')
HANGS = ScriptedCall(math.inf, GOOD)
SCRIPTED = {
    "answers": ScriptedCall(0, GOOD),
    "fails": ScriptedCall(0, Failure("bad_status", 503)),
    **dict.fromkeys(PHASES, HANGS),
    "swallows": ScriptedCall(math.inf, GOOD, swallow_ms=IGNORES_FOR_S * 1000),
    "clean_up_raises": ScriptedCall(math.inf, GOOD, cleanup_error=CleanUpBug()),
    "clean_up_waits": ScriptedCall(math.inf, GOOD, cleanup_ms=CLEAN_UP_S * 1000),
}


class TestScriptedCall(InVirtualTime, CallConformance):
    @pytest.fixture
    def make_call(self) -> MakeCall:
        async def make(behaviour: str) -> Call:
            return SCRIPTED[behaviour]

        return make


class TestUpstreamCall(CallConformance):
    """Over real sockets, to the simulated upstream. Careless code is a transport of somebody else's."""

    @pytest.fixture
    async def make_call(self, nursery: trio.Nursery) -> AsyncIterator[MakeCall]:
        async with (
            hanging_urls(nursery) as urls,
            PoolTransport(max_connections=10, ssl_context=client_context()) as transport,
        ):

            async def make(behaviour: str) -> Call:
                if behaviour in CARELESS:
                    return UpstreamCall(CarelessTransport(behaviour), "http://127.0.0.1/")
                warm = UpstreamCall(transport, urls["answers"])
                await warm(CallTimings("test", 0))  # what a test counts is what its own calls leave
                return UpstreamCall(transport, urls[behaviour])

            yield make
            assert {origin.in_use for origin in transport.statistics().origins} <= {0}


CARELESS = ("swallows", "clean_up_raises", "clean_up_waits")


class CarelessTransport(httpx.AsyncBaseTransport):
    def __init__(self, behaviour: str) -> None:
        self._behaviour = behaviour

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if self._behaviour == "clean_up_raises":
                raise CleanUpBug from None
            with trio.CancelScope(shield=self._behaviour == "clean_up_waits"):
                await trio.sleep(CLEAN_UP_S if self._behaviour == "clean_up_waits" else IGNORES_FOR_S)
            raise
        raise AssertionError("nothing ends it but a cancellation")
