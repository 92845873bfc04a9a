from __future__ import annotations

from fanout.race.budget import DEFAULT, HEADER, PARAMETER, Budget


def test_the_race_ends_a_reserve_before_the_answer_is_due() -> None:
    """G2: the race ends at `timeout - reserve`, both from the moment the head was read."""
    budget = Budget(arrived_at=100.0, timeout_ms=300, reserve_ms=20)
    assert budget.answer_due_at == 100.3
    assert budget.race_ends_at == 100.28
    assert round(budget.elapsed_ms(100.05), 6) == 50


def test_a_budget_below_the_reserve_has_ended_before_it_began() -> None:
    budget = Budget(arrived_at=100.0, timeout_ms=5, reserve_ms=20)
    assert budget.race_ends_at < budget.arrived_at


def test_a_timeout_says_in_one_word_where_it_comes_from() -> None:
    """These words are part of the API and of the log. Unless it is said, nobody has chosen a timeout."""
    assert (PARAMETER, HEADER, DEFAULT) == ("parameter", "header", "default")
    assert Budget(arrived_at=100.0, timeout_ms=300, reserve_ms=20).timeout_from == "default"
