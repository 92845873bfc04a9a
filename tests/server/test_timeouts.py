"""How long clients are waited for, and that many waits do not end together."""

from __future__ import annotations

from math import inf

import pytest
import trio
from trio.testing import MockClock

from fanout.server.limits import Limits
from fanout.server.timeouts import Timeouts

LIMITS = Limits(drain_grace_s=0.5)


@pytest.mark.parametrize(
    ("limit_s", "draining", "timeout_s"),
    [(10, False, 10), (10, True, 0.5), (0.2, True, 0.2), (inf, False, inf), (inf, True, inf)],
)
async def test_a_wait_for_a_client_is_no_longer_than_the_grace_of_a_shutdown(
    autojump_clock: MockClock, limit_s: float, draining: bool, timeout_s: float
) -> None:
    """`inf` is not a wait for a client."""
    timeouts: Timeouts[int] = Timeouts(LIMITS)
    assert not timeouts.draining
    assert not timeouts.closes_after_answer
    timeouts.draining = draining
    assert timeouts.timeout_s(limit_s) == timeout_s
    assert timeouts.spread_timeout_s(limit_s) == timeout_s


async def test_waits_that_would_end_together_end_sixteen_at_a_time(autojump_clock: MockClock) -> None:
    await trio.sleep(100)
    timeouts: Timeouts[int] = Timeouts(LIMITS)
    spread = [round(timeouts.spread_timeout_s(10), 6) for _ in range(40)]
    assert spread == [10] * 16 + [10.0015] * 16 + [10.003] * 8
    assert timeouts.spread_timeout_s(5) == 5  # they end at another moment
    assert round(timeouts.spread_timeout_s(10), 6) == 10.003


async def test_waits_that_begin_shortly_after_others_count_with_them(autojump_clock: MockClock) -> None:
    await trio.sleep(100)
    timeouts: Timeouts[int] = Timeouts(LIMITS)
    assert [timeouts.spread_timeout_s(10) for _ in range(10)] == [10] * 10
    await trio.sleep(0.001)
    assert [timeouts.spread_timeout_s(10) for _ in range(6)] == [10] * 6
    assert [round(timeouts.spread_timeout_s(10), 6) for _ in range(17)] == [10.0005] * 16 + [10.002]
    await trio.sleep(1)
    assert [timeouts.spread_timeout_s(10) for _ in range(16)] == [10] * 16
    assert round(timeouts.spread_timeout_s(10), 6) == 10.0015


async def test_the_first_wait_of_all_is_as_long_as_it_is_to_be(autojump_clock: MockClock) -> None:
    """When the clock began a moment ago, too."""
    assert Timeouts[int](LIMITS).spread_timeout_s(0.25) == 0.25
