"""Chance is repeatable, and as unreliable as promised."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.tools.simulator import SimulatorSettings
from fanout.tools.simulator.draws import ERROR_STATUSES, CallDraw, Draws
from fanout.tools.simulator.settings import UNRELIABLE
from tests.tools.simulator.wire_client import serving

CALLS = 20_000


@settings(deadline=None)
@given(seed=st.integers(0, 2**63 - 1), ns=st.lists(st.integers(1, 10**9), max_size=5))
def test_a_draw_depends_on_the_seed_and_its_number_alone(seed: int, ns: list[int]) -> None:
    """In any order, as often as wanted, in any process."""
    rates = {"accept_rst": 0.3, "accept_hang": 0.3}
    draws, again = (Draws(SimulatorSettings(seed=seed, connection_faults=rates)) for _ in range(2))
    forwards = [(draws.call(n), draws.connection(n)) for n in ns]
    backwards = [(again.call(n), again.connection(n)) for n in reversed(ns)]
    assert forwards == backwards[::-1]


def test_the_first_draws_of_seed_0_are_these() -> None:
    """A change of the draws makes recorded runs unrepeatable: it belongs into the changelog."""
    draws = Draws(SimulatorSettings())
    assert [draws.call(n) for n in (1, 2, 21, 24)] == [
        CallDraw(418, None, 504),
        CallDraw(216, None, 429),
        CallDraw(412, "hang_before_head", 503),
        CallDraw(263, "status", 504),
    ]


def test_another_seed_is_another_run() -> None:
    one, two = (Draws(SimulatorSettings(seed=seed)) for seed in (1, 2))
    assert [one.call(n) for n in range(20)] != [two.call(n) for n in range(20)]


def test_changing_the_rates_does_not_move_the_delays() -> None:
    calm, wild = Draws(SimulatorSettings(faults={})), Draws(SimulatorSettings(faults={"garbage": 0.9}))
    assert [calm.call(n).delay_ms for n in range(100)] == [wild.call(n).delay_ms for n in range(100)]


def test_delays_are_uniform_from_100_to_600_ms() -> None:
    draws = Draws(SimulatorSettings())
    delays = [draws.call(n).delay_ms for n in range(CALLS)]
    assert (min(delays), max(delays)) == (100, 600)
    deviation_of_mean = math.sqrt((501**2 - 1) / 12 / CALLS)
    assert abs(sum(delays) / CALLS - 350) < 4 * deviation_of_mean


def test_one_call_in_ten_fails_by_default_in_the_documented_mix() -> None:
    assert math.isclose(sum(UNRELIABLE.values()), 0.1)
    draws = Draws(SimulatorSettings())
    faults = [draws.call(n).fault for n in range(CALLS)]
    assert set(faults) == {None, *UNRELIABLE}
    for fault, share in UNRELIABLE.items():
        _assert_share(faults.count(fault), share)


def test_drawn_statuses_are_errors_of_every_kind() -> None:
    draws = Draws(SimulatorSettings(faults={"status": 1}))
    statuses = [draws.call(n).status for n in range(CALLS)]
    for status in ERROR_STATUSES:
        _assert_share(statuses.count(status), 1 / len(ERROR_STATUSES))


def test_connection_faults_come_at_their_rates() -> None:
    draws = Draws(SimulatorSettings(connection_faults={"accept_rst": 0.02, "accept_hang": 0.3}))
    faults = [draws.connection(n) for n in range(CALLS)]
    _assert_share(faults.count("accept_rst"), 0.02)
    _assert_share(faults.count("accept_hang"), 0.3)
    _assert_share(faults.count(None), 0.68)


@pytest.mark.parametrize("rate", [0, 1])
def test_never_is_never_and_always_is_always(rate: float) -> None:
    draws = Draws(SimulatorSettings(faults={"garbage": rate}))
    assert {draws.call(n).fault for n in range(1000)} == {"garbage" if rate else None}


async def test_a_call_over_the_wire_gets_the_draw_of_its_number() -> None:
    """Also when other calls took their delay from the query: they count, and change nothing."""
    wanted = SimulatorSettings(seed=5, min_delay_ms=0, max_delay_ms=9, faults={"array": 0.5})
    async with serving() as served:
        served.simulator.apply(wanted)
        for n in range(1, 21):
            await served.ask("GET", "/api/work" if n % 2 else "/api/work?delay_ms=1&fault=none")
        draws = Draws(wanted)
        for record in served.simulator.calls():
            drawn = draws.call(record.id)
            if record.id % 2:
                assert (record.delay_ms, record.fault) == (drawn.delay_ms, drawn.fault)


def _assert_share(count: int, share: float) -> None:
    """Within four standard deviations of a fair draw. The draws are seeded, so this never flickers."""
    assert abs(count - CALLS * share) < 4 * math.sqrt(CALLS * share * (1 - share))
