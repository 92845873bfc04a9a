"""The simulation with every call behind the asyncio bridge: the same worlds, the same judge.

Each call is an asyncio task, which runs the simulated call as a Trio task. So the network stays the simulated
one, and what is tried is the bridge: cancellations at any moment, disconnects, deadlines, shutdowns.
"""

from __future__ import annotations

import os

import pytest
import trio.testing

import tests.upstream.bridge  # noqa: F401 - skips this file where there is no bridge
from fanout.race.outcome import Cancelled, Failure, Success
from fanout.race.race import Call
from fanout.race.timings import CallTimings
from fanout.testing.world.draw import draw_plan
from fanout.testing.world.ended import Ended
from fanout.testing.world.judge import judge
from fanout.testing.world.scheduler import run_seeded
from fanout.testing.world.trace import Trace
from fanout.testing.world.upstreams import CURRENT_REQUEST
from fanout.testing.world.world import World
from fanout.upstream.asyncio_call import AsyncioCall, open_bridge, trio_as_aio
from fanout.upstream.transport import PoolTransport
from tests.upstream.reports import Reports

REQUESTS = 200
SEEDS = int(os.environ.get("BRIDGE_SEEDS", "2"))  # of the long form


class BehindTheBridge:
    def __init__(self, call: Call) -> None:
        self._call = call

    async def __call__(self, timings: CallTimings) -> Success | Failure | Cancelled:
        request = CURRENT_REQUEST.get()

        async def run(timings: CallTimings) -> Success | Failure | Cancelled:
            CURRENT_REQUEST.set(request)  # asyncio code runs in the service's context
            outcome: Success | Failure | Cancelled = await trio_as_aio(self._call)(timings)
            return outcome

        return await AsyncioCall(run)(timings)


class BridgedWorld(World):
    def _make_call(self, transport: PoolTransport, index: int) -> Call:  # type: ignore[override]  # any call will do
        return BehindTheBridge(super()._make_call(transport, index))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_guarantee_is_kept_behind_the_bridge(seed: int) -> None:
    reports = Reports()
    plan = draw_plan(seed, REQUESTS)

    async def main(clock: trio.testing.MockClock) -> Ended:
        async with open_bridge(reports):
            return await BridgedWorld(plan, seed, clock, Trace(kept=False)).run()

    ended = run_seeded(main, seed)
    assert judge(ended) == []
    asked, has_stalls = (
        len(ended.requests),
        plan.has_stalls,
    )  # not in an assert: their owners have endless reprs
    assert asked
    assert reports.bugs == []
    # A run may stop the event loop for longer than the grace: then a task is left, and ends right after.
    assert len(reports.ended) == len(reports.left)
    assert reports.left == [] or has_stalls
