"""The schedule: exact in virtual time, never moved by what happens."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import Any

import pytest
import trio
import trio.testing

from fanout.tools.load.plan import LoadPlan, parsed_target
from fanout.tools.load.schedule import LAUNCHES_BETWEEN_CHECKPOINTS, arrival_offsets, pace, planned_offsets


def plan(**options: Any) -> LoadPlan:
    """A plan whose target is never asked."""
    return LoadPlan(target=parsed_target("http://127.0.0.1:1"), **options)


def test_a_constant_rate_spaces_arrivals_evenly_from_the_first_moment() -> None:
    """The k-th arrival is at k / rate."""
    assert list(islice(arrival_offsets(4.0, 0.0, "constant", 1), 5)) == [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("rate", [1.0, 30.0, 333.0, 5000.0])
def test_a_duration_holds_exactly_rate_times_duration_arrivals(rate: float) -> None:
    """The end of the duration is not part of it."""
    assert len(list(planned_offsets(plan(rate_per_s=rate, duration_s=3.0)))) == rate * 3


def test_a_ramp_grows_linearly_and_holds_half_of_the_full_rate() -> None:
    """100/s over a ramp of 4 s: 200 arrivals in it, a quarter of them in its first half."""
    offsets = list(islice(arrival_offsets(100.0, 4.0, "constant", 1), 301))
    assert sum(offset < 4.0 for offset in offsets) == 200
    assert sum(offset < 2.0 for offset in offsets) == 50
    assert offsets[200] == 4.0
    assert offsets[300] == pytest.approx(5.0)
    gaps = [later - earlier for earlier, later in pairwise(offsets)]
    assert all(later <= earlier + 1e-9 for earlier, later in pairwise(gaps))


def test_poisson_arrivals_keep_the_mean_rate_and_repeat_with_their_seed() -> None:
    """20,000 arrivals at 1,000/s last 20 s within 3 %, and gaps vary as those of a Poisson process do."""
    offsets = list(islice(arrival_offsets(1000.0, 0.0, "poisson", 7), 20_000))
    assert offsets[-1] == pytest.approx(20.0, rel=0.03)
    gaps = [later - earlier for earlier, later in pairwise(offsets)]
    mean = sum(gaps) / len(gaps)
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.1)
    assert offsets == list(islice(arrival_offsets(1000.0, 0.0, "poisson", 7), 20_000))
    assert offsets[:10] != list(islice(arrival_offsets(1000.0, 0.0, "poisson", 8), 10))


def test_a_number_of_requests_is_counted_after_the_warm_up() -> None:
    """Ten a second, one second of warm-up, five requests: fifteen arrivals."""
    offsets = list(planned_offsets(plan(rate_per_s=10.0, duration_s=None, requests=5, warmup_s=1.0)))
    assert len(offsets) == 15
    assert offsets[-5] == 1.0


def test_of_two_bounds_the_first_reached_ends_the_run() -> None:
    """Duration and requests may both be given."""
    assert len(list(planned_offsets(plan(rate_per_s=10.0, duration_s=1.0, requests=50)))) == 10
    assert len(list(planned_offsets(plan(rate_per_s=10.0, duration_s=9.0, requests=50)))) == 50


async def test_every_arrival_is_launched_at_its_exact_time(autojump_clock: trio.testing.MockClock) -> None:
    """Virtual time: intended and actual start are the same number."""
    started_at = trio.current_time()
    launches: list[tuple[float, float]] = []
    offsets = [0.0, 0.1, 0.1, 2.5, 2.500001, 60.0]
    await pace(offsets, started_at, lambda intended: launches.append((intended, trio.current_time())))
    assert launches == [(started_at + offset, started_at + offset) for offset in offsets]


async def test_a_stalled_client_launches_what_is_due_late_and_keeps_its_intended_start(
    mock_clock: trio.testing.MockClock,
) -> None:
    """No coordinated omission: the arrivals of a stall of 1 s are all launched, none is moved."""
    started_at = trio.current_time()
    launches: list[tuple[float, float]] = []

    def launch(intended_at: float) -> None:
        if not launches:
            mock_clock.jump(1.0)
        launches.append((intended_at - started_at, trio.current_time() - started_at))

    await pace([0.0, 0.25, 0.5, 0.75], started_at, launch)
    assert launches == [(0.0, 1.0), (0.25, 1.0), (0.5, 1.0), (0.75, 1.0)]


async def test_a_client_that_is_behind_still_lets_answers_be_read() -> None:
    """Catching up never holds the loop for more than a few launches."""
    launched = longest = 0

    def launch(_: float) -> None:
        nonlocal launched
        launched += 1

    async def reader() -> None:
        nonlocal longest
        while launched < 1000:
            before = launched
            await trio.lowlevel.checkpoint()
            longest = max(longest, launched - before)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await pace([0.0] * 1000, trio.current_time() - 1.0, launch)
    assert launched == 1000
    assert longest <= 2 * LAUNCHES_BETWEEN_CHECKPOINTS
