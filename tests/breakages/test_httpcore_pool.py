"""What `make httpcore-leak` searches for, in one small simulation run made for it."""

from __future__ import annotations

from typing import Final

import pytest

from fanout.testing.world.judge import judge
from fanout.testing.world.plan import ClientScript, Leave, Plan
from fanout.upstream.transport import PoolTransport
from tests.breakages.httpcore_pool import Pool, lost_in, run_on
from tests.breakages.httpcore_transport import HttpcoreTransport
from tests.testing.world.plans import answers, race

CLIENTS: Final = 100
IMPATIENT: Final = Plan(
    tuple(
        ClientScript((race(n, answers(50), answers(60), leave=Leave("rst", 0)),), at_ms=n)
        for n in range(CLIENTS)
    ),
    late_iterations=12,
)


@pytest.mark.parametrize(("pool", "loses"), [(HttpcoreTransport, True), (PoolTransport, False)])
def test_clients_that_leave_at_once_cost_httpx_slots_and_fanout_none(pool: Pool, loses: bool) -> None:
    """G7. The first half is why there is a pool of our own."""
    ended = run_on(pool, IMPATIENT, 0)
    assert bool(lost_in(ended)) == loses
    assert bool(judge(ended)) == loses
    assert len(ended.requests) == CLIENTS
