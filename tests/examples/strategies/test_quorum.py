"""`/api/quorum` through the whole application, in virtual time, with exact times (G2-G6, G11)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fanout.testing import ScriptedCall, answers, crashes, fails, hangs
from tests.examples.strategies.apps import ask, summary


@pytest.mark.parametrize(
    ("calls", "said", "took_s", "outcomes"),
    [
        ([answers(50), answers(80)], "success", 0.08, "ok ok"),  # of two, both
        ([answers(50), fails(20)], "no_success", 0.02, "cancelled failed"),
        ([answers(50), hangs()], "deadline", 1.0, "ok cancelled"),
        ([answers(50), answers(80), hangs()], "success", 0.08, "ok ok cancelled"),  # of three, any two
        ([hangs(), answers(80), answers(50)], "success", 0.08, "cancelled ok ok"),
        ([fails(10), answers(80), answers(50)], "success", 0.08, "failed ok ok"),
        ([fails(10), fails(90), answers(50)], "no_success", 0.09, "failed failed ok"),  # at once
        ([fails(10), fails(20), hangs()], "no_success", 0.02, "failed failed cancelled"),
        ([fails(10), hangs(), answers(50)], "deadline", 1.0, "failed cancelled ok"),
        ([answers(10), answers(30), crashes(20)], "internal", 0.02, "ok cancelled failed"),
        ([answers(10), answers(20), crashes(30)], "success", 0.02, "ok ok cancelled"),
        ([answers(10), answers(20), answers(30), hangs()], "success", 0.03, "ok ok ok cancelled"),
    ],
)
def test_a_majority_is_the_answer_and_the_rest_is_stopped(
    calls: Sequence[ScriptedCall], said: str, took_s: float, outcomes: str
) -> None:
    replay = ask("quorum", *calls)
    assert summary(replay) == (said, took_s, outcomes)


def test_the_answers_are_in_call_order() -> None:
    assert ask("quorum", answers(80), hangs(), answers(50)).json == [{"time": 80}, {"time": 50}]


def test_of_more_successes_at_once_than_are_needed_those_recorded_first_are_the_answer() -> None:
    for _ in range(20):
        said = ask("quorum", answers(50, b"0"), answers(50, b"1"), answers(50, b"2")).json
        assert said in ([0, 1], [0, 2], [1, 2])


def test_the_problem_says_how_many_had_to_succeed() -> None:
    problem = ask("quorum", fails(10), answers(20), fails(30)).json
    assert problem["reason"] == "no_success"
    assert problem["title"] == "Too few upstream calls succeeded"
    assert problem["detail"].startswith("2 upstream calls had to succeed")
    assert [call["outcome"] for call in problem["calls"]] == ["failed", "ok", "failed"]


def test_a_client_disconnect_stops_every_call() -> None:
    """G6. `run_scenario` raises if anything is left."""
    replay = ask("quorum", hangs(), answers(20), hangs(), hang_up_after_ms=50)
    assert (replay.status, replay.took_s) == (None, 0.05)


def test_the_deadline_and_the_deciding_success_in_one_moment() -> None:
    """Of the two, the deadline is noticed first: as in `/api/first`."""
    for _ in range(20):
        replay = ask("quorum", answers(20), answers(100), timeout_ms=100)
        assert summary(replay)[:2] == ("deadline", 0.1)
