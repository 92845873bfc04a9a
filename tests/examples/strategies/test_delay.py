"""The delay: fixed, or the percentile of what was seen, however that is spread."""

from __future__ import annotations

import random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.strategies.delay import ENOUGH, WINDOW, Delay, Window
from fanout.race.ledger import CallRecord
from fanout.race.outcome import Cancelled, Failure, Outcome, Success


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 20), st.integers(0, 100))
def test_a_window_has_the_percentiles_of_its_latest_numbers(
    numbers: list[float], size: int, percent: int
) -> None:
    """By the definition: the smallest that at least so many percent do not exceed."""
    window = Window(size)
    for number in numbers:
        window.add(number)
    latest = numbers[-size:]
    assert len(window) == len(latest)
    found = window.percentile(percent)
    assert found in latest
    assert 100 * sum(number <= found for number in latest) >= percent * len(latest)
    assert all(
        100 * sum(n <= less for n in latest) < percent * len(latest) for less in latest if less < found
    )


def test_the_95th_percentile_is_that_of_the_standard_library() -> None:
    window = Window(999)
    for number in range(1, 1000):
        window.add(float(number))
    assert window.percentile(95) == quantiles(range(1, 1000), n=20)[-1] == 950


def test_an_empty_window_has_no_percentile() -> None:
    with pytest.raises(IndexError):
        Window(3).percentile(50)


def took(seconds: float, outcome: Outcome | None = None) -> CallRecord:
    return CallRecord(0, 10.0, 10.0 + seconds, Success(b"{}") if outcome is None else outcome)


def test_without_a_percentile_the_delay_is_fixed() -> None:
    delay = Delay(0.2)
    for _ in range(2 * ENOUGH):
        delay.saw(took(0.7))
    assert delay.seconds == 0.2


def test_the_delay_is_the_percentile_once_enough_was_seen() -> None:
    delay = Delay(0.5, percentile=95)
    for number in range(1, ENOUGH):
        delay.saw(took(number / 1000))
    assert delay.seconds == 0.5
    delay.saw(took(ENOUGH / 1000))
    assert delay.seconds == pytest.approx(0.095)


def test_a_call_that_was_stopped_after_the_delay_counts_and_one_before_it_does_not() -> None:
    """Without the first the delay would fall, hedge more, and see even less of what is slow."""
    delay = Delay(0.1, percentile=50)
    for _ in range(ENOUGH):
        delay.saw(took(0.3, Cancelled("explicit")))
        delay.saw(took(0.05, Cancelled("deadline")))
        delay.saw(took(0.001, Failure("bad_status")))
    assert delay.seconds == pytest.approx(0.3)


def test_what_was_never_started_does_not_count() -> None:
    delay = Delay(0.0, percentile=50)
    for _ in range(ENOUGH):
        delay.saw(CallRecord(0))
    assert delay.seconds == 0.0


def test_the_delay_follows_the_upstream() -> None:
    delay = Delay(0.5, percentile=95)
    for _ in range(WINDOW):
        delay.saw(took(0.4))
    for _ in range(WINDOW):
        delay.saw(took(0.02))
    assert delay.seconds == pytest.approx(0.02)


def test_hedging_does_not_pull_its_own_percentile_down() -> None:
    """A first call that outlasts the delay may be stopped right after it: its time is known as a bound only.

    So a few more than 5 % outlast the delay, in this worst case. Without the bounds, nearly all would.
    """
    dice = random.Random(1)
    delay = Delay(10.0, percentile=95)
    outlasted = 0
    for number in range(11_000):
        seconds = dice.expovariate(1.0)
        if seconds > delay.seconds:
            outlasted += number >= WINDOW
            delay.saw(took(delay.seconds + 0.0001, Cancelled("explicit")))
        else:
            delay.saw(took(seconds))
    assert 0.05 < outlasted / 10_000 < 0.08
