"""The search for a broken guarantee: many drawn worlds, and plans that hypothesis draws and shrinks."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanout.testing.monitor.monitor import violations_of
from fanout.testing.world.judge import judge
from fanout.testing.world.plan import CallScript, ClientScript, DialScript, Leave, Plan, RequestScript
from fanout.testing.world.records import records_of
from fanout.testing.world.sweep import run_seed
from fanout.testing.world.world import run_plan
from fanout.tools.simulator.faults import FAULTS
from tests.testing.world.plans import race

SEEDS, SEEDS_A_TEST, REQUESTS = 20, 4, 130
TIMES_MS = st.sampled_from((0, 1, 9, 10, 11, 50, 89, 90, 91, 300))

dials = st.builds(
    DialScript,
    st.sampled_from(("ok", "refuse", "hang", "crash", "accept_hang", "accept_rst", "accept_fin")),
    TIMES_MS,
)
calls = st.builds(
    CallScript,
    st.one_of(st.none(), st.sampled_from(sorted(FAULTS))),
    TIMES_MS,
    TIMES_MS,
    st.lists(dials, max_size=2).map(tuple),
)
leaves = st.builds(Leave, st.sampled_from(("fin", "rst", "half")), TIMES_MS, st.sampled_from((0.0, 0.5, 1.0)))


@st.composite
def requests(draw: st.DrawFn) -> RequestScript:
    return race(
        0,
        draw(calls),
        draw(calls),
        ask=draw(st.sampled_from(("first", "all"))),
        timeout_ms=draw(st.sampled_from((1, 10, 11, 100, 1000))),
        gap_ms=draw(TIMES_MS),
        pipelined=draw(st.booleans()),
        stall_ms=draw(st.sampled_from((0, 0, 100, 20_000))),
        leave=draw(st.none() | leaves),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    clients = []
    number = 0
    for script in draw(st.lists(st.lists(requests(), min_size=1, max_size=3), min_size=1, max_size=3)):
        numbered = []
        for request in script:
            number += 1
            fields = {name: getattr(request, name) for name in RequestScript.__slots__}
            numbered.append(RequestScript(**{**fields, "id": number}))
        clients.append(
            ClientScript(
                tuple(numbered),
                at_ms=draw(TIMES_MS),
                window_bytes=draw(st.sampled_from((65536, 100))),
                segment_bytes=draw(st.sampled_from((0, 1, 7))),
            )
        )
    return Plan(
        tuple(clients),
        max_in_flight=draw(st.sampled_from((1, 2, 100))),
        max_connections=draw(st.sampled_from((1, 10_000))),
        reserve_ms=draw(st.sampled_from((0, 10))),
        addresses=draw(st.sampled_from((1, 2))),
        client_latency_ms=draw(st.sampled_from((0, 1))),
        upstream_latency_ms=draw(st.sampled_from((0, 1))),
        late_iterations=draw(st.sampled_from((0, 3))),
        drain_at_ms=draw(st.none() | TIMES_MS),
        lame_duck_ms=draw(st.sampled_from((0, 100))),
    )


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(plan=plans(), seed=st.integers(0, 3))
def test_no_plan_breaks_a_guarantee(plan: Plan, seed: int) -> None:
    """G1 to G9 and G11, of plans that shrink to the smallest that breaks one."""
    ended = run_plan(plan, seed)
    assert [str(violation) for violation in judge(ended)] == []
    assert [str(violation) for violation in violations_of(records_of(ended, seed))] == []


@pytest.mark.parametrize(
    "first_seed",
    [0, *[pytest.param(seed, marks=pytest.mark.long) for seed in range(SEEDS_A_TEST, SEEDS, SEEDS_A_TEST)]],
)
def test_no_drawn_world_breaks_a_guarantee(first_seed: int) -> None:
    """The same search as `make simulate`, over a few thousand requests in all: judge and monitor agree."""
    reports = [run_seed(seed, REQUESTS) for seed in range(first_seed, first_seed + SEEDS_A_TEST)]
    assert [report for report in reports if report.violations or report.formulas] == []
    assert sum(report.requests for report in reports) > SEEDS_A_TEST * REQUESTS / 2
