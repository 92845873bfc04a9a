"""`/api/all` through the whole application, in virtual time, with exact times (G5)."""

from __future__ import annotations

import pytest

from fanout.testing import answers, fails, hangs, run_scenario


def test_every_success_in_call_order() -> None:
    """G5: the slower call comes first in the array if it was the first call."""
    replay = run_scenario("/api/all?timeout=1000", [answers(200), answers(100)])
    assert (replay.status, replay.body) == (200, b'[{"time": 200},{"time": 100}]')
    assert replay.took_s == 0.2
    assert replay.outcomes == ["ok", "ok"]


def test_failed_calls_are_left_out() -> None:
    replay = run_scenario("/api/all?timeout=1000", [fails(300), answers(100)])
    assert (replay.status, replay.body, replay.took_s) == (200, b'[{"time": 100}]', 0.3)
    assert replay.outcomes == ["failed", "ok"]


def test_no_success_is_a_500_as_soon_as_it_is_known() -> None:
    replay = run_scenario("/api/all?timeout=1000", [fails(50), fails(100)])
    assert (replay.status, replay.took_s) == (500, 0.1)
    assert replay.json["reason"] == "no_success"


def test_a_deadline_before_all_have_finished_is_a_500_even_with_a_success() -> None:
    replay = run_scenario("/api/all?timeout=300", [answers(100), hangs()], reserve_ms=20)
    assert replay.status == 500
    assert replay.answered_s == pytest.approx(0.28)
    assert replay.json["reason"] == "deadline"
    assert [call["outcome"] for call in replay.json["calls"]] == ["ok", "cancelled"]


def test_a_failure_before_and_a_hang_until_the_deadline() -> None:
    replay = run_scenario("/api/all?timeout=300", [fails(100), hangs()])
    assert (replay.status, replay.took_s) == (500, 0.3)
    assert [call["error"] for call in replay.json["calls"]] == ["bad_status", "deadline"]


def test_a_client_that_leaves_cancels_both_calls() -> None:
    replay = run_scenario("/api/all?timeout=1000", [answers(100), hangs()], hang_up_after_ms=150)
    assert (replay.status, replay.took_s) == (None, 0.15)


def test_payloads_are_passed_on_byte_for_byte() -> None:
    odd = b'{"time": 1, "big": 123456789012345678901234567890, "float": 1.10, "text": "\\u00e9"}'
    replay = run_scenario("/api/all?timeout=1000", [answers(1, odd), answers(1, odd)])
    assert replay.body == b"[" + odd + b"," + odd + b"]"
