"""What a viewer is shown: fair above the rate, bounded, and no running request is forgotten."""

from __future__ import annotations

import pytest

from fanout.admin.live.rows import BURST, Rows
from fanout.race.events import CallEnded
from fanout.race.ledger import CallRecord
from fanout.race.outcome import Failure
from tests.admin.live_receipts import receipt, started


def test_a_request_is_shown_running_then_with_a_call_ended_then_ended() -> None:
    rows = Rows(10.0)
    rows.started(started())
    (running,), _ = rows.take(10.1)
    record = CallRecord(1, 10.0, 10.12, Failure("bad_status", 503), (("wait", 10.01),))
    rows.call_ended(CallEnded("r-1", record, 10.12, 10.0))
    (half,), _ = rows.take(10.2)
    rows.ended(receipt())
    (ended,), left_out = rows.take(10.3)
    assert (running["reason"], [c["outcome"] for c in running["calls"]]) == ("running", ["running"] * 2)
    assert (half["calls"][1]["outcome"], half["calls"][1]["ended_ms"]) == ("failed", pytest.approx(120))
    assert half["calls"][0]["outcome"] == "running"
    assert (ended["reason"], ended["arrived_ms"], left_out) == ("success", 10_000, 0)
    assert rows.take(10.4) == ([], 0)


def test_a_call_of_another_request_with_the_same_id_is_not_shown_as_its_own() -> None:
    rows = Rows(10.0)
    rows.started(started())
    rows.take(10.1)
    record = CallRecord(1, 10.0, 10.12, Failure("bad_status", 503))
    rows.call_ended(CallEnded("r-1", record, 10.12, 10.05))
    assert rows.take(10.2) == ([], 0)
    rows.call_ended(CallEnded("r-1", record, 10.12, 10.0))
    assert len(rows.take(10.3)[0]) == 1


def test_who_was_shown_running_is_shown_ended_however_much_happens() -> None:
    rows = Rows(10.0)
    for number in range(200):
        rows.started(started(f"r-{number}"))
    shown, _ = rows.take(10.0)
    for number in range(200):
        rows.ended(receipt(request_id=f"r-{number}"))
    ended, left_out = rows.take(10.0)
    assert 0 < len(shown) < BURST
    assert {row["request_id"] for row in shown} <= {row["request_id"] for row in ended}
    assert len(ended) + left_out == 200
    assert rows.running() == []


def test_above_the_rate_a_rare_ending_is_shown_and_the_rest_counted() -> None:
    """Fifty a second, one reason after the other; and what waits for the choice is bounded."""
    rows = Rows(10.0)
    for number in range(5000):
        rows.ended(receipt(request_id=f"r-{number}"))
    rows.ended(receipt(status=None, reason="client_disconnected"))
    assert sum(map(len, rows._waiting.values())) == BURST + 1
    chosen, left_out = rows.take(10.15)
    again, _ = rows.take(10.15)
    assert len(chosen) == BURST
    assert [row["reason"] for row in chosen].count("client_disconnected") == 1
    assert left_out == 5001 - BURST
    assert again == []


def test_the_rate_is_fifty_rows_a_second() -> None:
    rows = Rows(0.0)
    shown = 0
    for tick in range(1, 101):
        for number in range(100):
            rows.ended(receipt(request_id=f"r-{tick}-{number}"))
        shown += len(rows.take(tick / 10)[0])
    assert shown == pytest.approx(BURST + 10 * 50, abs=10)


def test_of_two_requests_with_one_id_both_are_shown_ended() -> None:
    rows = Rows(10.0)
    rows.started(started(at=10.0))
    rows.started(started(at=10.1))
    rows.take(10.2)
    rows.ended(receipt(arrived_at=10.1))
    assert [row["arrived_ms"] for row in rows.running()] == [10_000]
    rows.ended(receipt(arrived_at=10.0))
    ended, _ = rows.take(10.3)
    assert sorted(row["arrived_ms"] for row in ended) == [10_000, 10_100]
    assert rows.running() == []
