"""The hedging budget: its bound holds in any order of requests and further calls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from examples.strategies.budget import HedgingBudget


@given(
    st.lists(st.booleans()),
    st.integers(0, 100),
    st.integers(1, 5),
    st.integers(0, 5),
)
def test_further_calls_have_a_bound(
    steps: list[bool], percent: int, most: int, more_than_needed: int
) -> None:
    """A step is a request (True), or an attempt at a further call."""
    at_first = min(most, more_than_needed)
    budget = HedgingBudget(percent, most, at_first)
    requests = further = 0
    for is_request in steps:
        if is_request:
            requests += 1
            budget.earn()
        else:
            further += budget.spend()
        assert 100 * further <= 100 * at_first + requests * percent


def test_ten_requests_at_ten_percent_pay_for_exactly_one_call() -> None:
    """0.1 added ten times is a little less than one."""
    budget = HedgingBudget(percent=10, most=10)
    for _ in range(9):
        budget.earn()
    assert not budget.spend()
    budget.earn()
    assert budget.spend()
    assert not budget.spend()


def test_no_more_is_kept_than_may_be() -> None:
    budget = HedgingBudget(percent=100, most=3)
    for _ in range(50):
        budget.earn()
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]


def test_more_than_half_is_ample() -> None:
    budget = HedgingBudget(percent=0, most=4, at_first=3)
    seen = [(budget.is_ample, budget.spend()) for _ in range(4)]
    assert seen == [
        (True, True),
        (False, True),
        (False, True),
        (False, False),
    ]  # what is left is for failures
