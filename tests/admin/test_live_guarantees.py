"""Which guarantees a receipt shows to be kept or broken; rates and latencies of a window."""

from __future__ import annotations

from typing import Any

import pytest

from fanout.admin.live.guarantees import GuaranteeBoard
from fanout.admin.live.window import MAX_TIMES, Window
from tests.admin.live_receipts import call, receipt

OK = call("ok")
LATE_END = call("cancelled", 10.3, 1)
FAILED = call("failed", error="broken")
STOPPED = call("cancelled", index=1)


@pytest.mark.parametrize(
    ("changes", "guarantee", "is_kept"),
    [
        ({}, "G1", True),
        ({"status": None}, "G1", False),
        ({}, "G2", True),
        ({"late_by_ms": 0.1}, "G2", False),
        ({}, "G3", True),
        ({"calls": (call(), LATE_END)}, "G3", False),
        ({"calls": (call(), call("cancelled", None, 1))}, "G3", False),
        ({}, "G4", True),
        ({"calls": (call("won", 10.2), call("ok", 10.1, 1))}, "G4", False),
        ({"calls": (FAILED, STOPPED)}, "G4", False),
        ({"status": 500, "reason": "no_success", "calls": (FAILED, FAILED)}, "G4", True),
        ({"status": 500, "reason": "deadline", "calls": (OK, STOPPED)}, "G4", False),
        ({"endpoint": "all", "calls": (OK, FAILED)}, "G5", True),
        ({"endpoint": "all", "calls": (OK, STOPPED)}, "G5", False),
        ({"endpoint": "all", "calls": (FAILED, FAILED)}, "G5", False),
        ({"endpoint": "all", "status": 500, "reason": "deadline", "calls": (OK, STOPPED)}, "G5", True),
        ({"endpoint": "all", "status": 500, "reason": "deadline", "calls": (OK, FAILED)}, "G5", False),
        ({"endpoint": "all", "status": 500, "reason": "no_success", "calls": (FAILED,) * 2}, "G5", True),
        ({"endpoint": "all", "status": 500, "reason": "no_success", "calls": (OK, FAILED)}, "G5", False),
        ({"status": None, "reason": "client_disconnected", "calls": (STOPPED,) * 2}, "G6", True),
        ({"status": None, "reason": "client_disconnected", "calls": (STOPPED, LATE_END)}, "G6", False),
        ({"status": 503, "reason": "overloaded", "calls": ()}, "G8", True),
        ({"status": 503, "reason": "overloaded"}, "G8", False),
    ],
)
def test_a_receipt_shows_whether_it_was_kept(changes: dict[str, Any], guarantee: str, is_kept: bool) -> None:
    board = GuaranteeBoard()
    board.receipt(receipt(**changes))
    assert board.to_json()[guarantee] == [int(is_kept), int(not is_kept)]


def test_a_window_counts_by_how_requests_ended_and_sorts_their_times() -> None:
    window = Window(10.0)
    for used_ms in range(1, 101):
        window.add(receipt(used_ms=float(used_ms)))
    window.add(receipt(status=500, reason="deadline", used_ms=1000.0))
    window.add(receipt(status=503, reason="overloaded", calls=()))
    window.add(receipt(status=None, reason="client_disconnected"))
    told = window.to_json(12.0)
    rates = [told[f"{name}_rate"] for name in ("answered", "failed", "refused", "left")]
    assert rates == [50, 0.5, 0.5, 0.5]
    assert (told["p50_ms"], told["p99_ms"]) == (51, 100)
    assert Window(0).to_json(1)["p50_ms"] is None


def test_a_window_keeps_a_bounded_and_fair_sample_of_times() -> None:
    window = Window(0.0)
    for used_ms in range(20 * MAX_TIMES):
        window.add(receipt(used_ms=float(used_ms)))
    assert len(window._times_ms) == MAX_TIMES
    assert window.to_json(1.0)["p50_ms"] == pytest.approx(10 * MAX_TIMES, rel=0.2)
