"""`/api/first` through the whole application, in virtual time, with exact times (G2–G6, G11)."""

from __future__ import annotations

import pytest

from fanout.race.events import BugFound, CallStarted, RequestEnded
from fanout.race.outcome import Cancelled
from fanout.testing import ScriptedCall, answers, crashes, fails, hangs, run_scenario


def test_the_first_success_is_the_answer_and_the_loser_is_cancelled() -> None:
    replay = run_scenario("/api/first?timeout=1000", [answers(900), answers(100)])
    assert (replay.status, replay.body) == (200, b'{"time": 100}')
    assert replay.took_s == 0.1
    assert replay.headers == {
        "content-type": "application/json",
        "content-length": "13",
        "server-timing": 'call0;dur=100.0;desc="cancelled", call1;dur=100.0;desc="won"',
        "cache-control": "no-store",
        "x-request-id": "scenario-1",
    }
    assert replay.outcomes == ["cancelled", "won"]
    assert replay.records[0].outcome == Cancelled("explicit", "call 1 settled the race")


def test_a_fast_failure_never_wins() -> None:
    """G4: a failure at 50 ms does not beat a success at 200 ms."""
    replay = run_scenario("/api/first?timeout=1000", [fails(50, status=500), answers(200)])
    assert (replay.status, replay.body) == (200, b'{"time": 200}')
    assert replay.took_s == 0.2
    assert replay.outcomes == ["failed", "won"]


def test_when_every_call_has_failed_the_error_is_immediate() -> None:
    """G4: at the last failure, not at the deadline; and it says how each call failed."""
    replay = run_scenario("/api/first?timeout=5000", [fails(50, "broken"), fails(40, status=503)])
    assert replay.status == 500
    assert replay.took_s == 0.05
    assert replay.json["reason"] == "no_success"
    assert replay.json["timeout_ms"] == 5000
    assert replay.json["elapsed_ms"] == 50
    assert replay.json["calls"] == [
        {"upstream": 0, "outcome": "failed", "error": "broken", "status": None, "elapsed_ms": 50},
        {"upstream": 1, "outcome": "failed", "error": "bad_status", "status": 503, "elapsed_ms": 40},
    ]


def test_the_deadline_is_a_500_at_timeout_minus_reserve() -> None:
    """G2, exact: the race ends a reserve before the answer is due."""
    replay = run_scenario("/api/first?timeout=300", [hangs(), fails(100)], reserve_ms=20)
    assert replay.status == 500
    assert replay.answered_s == pytest.approx(0.28)
    assert replay.json["reason"] == "deadline"
    assert replay.json["calls"] == [
        {"upstream": 0, "outcome": "cancelled", "error": "deadline", "status": None, "elapsed_ms": 280},
        {"upstream": 1, "outcome": "failed", "error": "bad_status", "status": None, "elapsed_ms": 100},
    ]


def test_time_spent_before_the_application_counts() -> None:
    """G2: the client's time starts when the head was read, not when a handler runs."""
    replay = run_scenario("/api/first?timeout=300", [hangs(), hangs()], arrived_ms_ago=100)
    assert replay.answered_s == pytest.approx(0.2)


@pytest.mark.parametrize("timeout_ms", [1, 20])
def test_a_budget_within_the_reserve_is_answered_at_once_without_a_call(timeout_ms: int) -> None:
    calls = [answers(0), answers(0)]
    replay = run_scenario(f"/api/first?timeout={timeout_ms}", calls, reserve_ms=20)
    assert (replay.status, replay.took_s) == (500, 0)
    assert replay.json["reason"] == "deadline"
    assert [call.started for call in calls] == [0, 0]
    assert not [event for event in replay.events if isinstance(event, CallStarted)]


def test_a_recorded_success_is_delivered_even_if_a_losers_clean_up_crosses_the_deadline() -> None:
    """G4: the verdict is read from the record, not from how the scope ended."""
    careless = hangs()
    careless.cleanup_ms = 500
    replay = run_scenario("/api/first?timeout=300", [careless, answers(100)])
    assert (replay.status, replay.body) == (200, b'{"time": 100}')
    assert replay.took_s == pytest.approx(0.6)


def test_a_success_in_the_tick_of_the_deadline_loses() -> None:
    """A tie has a defined end: Trio expires deadlines before it runs tasks."""
    replay = run_scenario("/api/first?timeout=300", [answers(300), hangs()])
    assert (replay.status, replay.took_s) == (500, 0.3)
    assert replay.json["reason"] == "deadline"


def test_two_successes_in_one_tick_give_one_answer() -> None:
    replay = run_scenario(
        "/api/first?timeout=300", [answers(100, b'{"time":1}'), answers(100, b'{"time":2}')]
    )
    assert replay.status == 200
    assert replay.body in (b'{"time":1}', b'{"time":2}')
    assert "won" in replay.outcomes


def test_a_client_that_leaves_cancels_both_calls_and_gets_no_answer() -> None:
    """G6: in the pass in which the hang-up is seen."""
    replay = run_scenario("/api/first?timeout=1000", [hangs(), hangs()], hang_up_after_ms=123)
    assert replay.status is None
    assert replay.took_s == 0.123
    (ended,) = [event for event in replay.events if isinstance(event, RequestEnded)]
    assert (ended.reason, ended.client_left_at, ended.at) == ("client_disconnected", 0.123, 0.123)


def test_a_client_that_leaves_after_the_answer_did_not_leave() -> None:
    replay = run_scenario("/api/first?timeout=1000", [answers(100), hangs()], hang_up_after_ms=100.5)
    assert replay.status == 200
    (ended,) = [event for event in replay.events if isinstance(event, RequestEnded)]
    assert (ended.status, ended.reason, ended.client_left_at) == (200, None, None)


@pytest.mark.parametrize("sibling", [answers(200), hangs(), fails(10), answers(10)])
def test_a_bug_in_a_call_is_one_500_and_told_once(sibling: ScriptedCall) -> None:
    """G11: it fails the request, whatever the sibling does, unless the race was over before it happened."""
    replay = run_scenario("/api/first?timeout=1000", [crashes(50), sibling])
    bugs = [event for event in replay.events if isinstance(event, BugFound)]
    if sibling.after_ms == 10 and sibling.started and replay.status == 200:
        assert bugs == []  # the race was settled at 10 ms; the buggy call was cancelled before its bug
        return
    assert (replay.status, replay.took_s) == (500, 0.05)
    assert replay.json["reason"] == "internal"
    assert "scripted" not in replay.body.decode()  # no stack trace, no message of ours
    assert [type(bug.exception) for bug in bugs] == [ZeroDivisionError]


def test_a_bug_while_the_client_hangs_up_is_still_told() -> None:
    """G11: Quart-Trio drops it; the race has told it before."""
    loser = hangs()
    loser.cleanup_error = RuntimeError("in clean-up")
    replay = run_scenario("/api/first?timeout=1000", [loser, hangs()], hang_up_after_ms=50)
    assert replay.status is None
    (bug,) = [event for event in replay.events if isinstance(event, BugFound)]
    assert str(bug.exception) == "in clean-up"


@pytest.mark.parametrize("calls", [1, 3, 5])
def test_any_number_of_calls_can_race(calls: int) -> None:
    scripted = [fails(10) for _ in range(calls - 1)] + [answers(30)]
    replay = run_scenario("/api/first?timeout=1000", scripted)
    assert (replay.status, replay.took_s) == (200, 0.03)
    assert replay.outcomes == ["failed"] * (calls - 1) + ["won"]
