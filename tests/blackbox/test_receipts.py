"""Receipts, request lines and the leak_check of the real program, over real sockets."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.blackbox.conftest import World

WRITTEN_WITHIN_S = 10


def timings(header: str) -> dict[str, str]:
    """Everything `Server-Timing` says, by name."""
    return dict(entry.split(";", 1) for entry in header.split(", "))


def line_of(world: World, request_id: str) -> Any:
    """The request's own line in the log (a late answer has another), which may have yet to be written."""
    deadline = time.monotonic() + WRITTEN_WITHIN_S
    while time.monotonic() < deadline:
        for line in world.fanout.errors.splitlines():
            if request_id.encode() in line and b'"message":"request"' in line:
                return json.loads(line)
        time.sleep(0.01)
    raise AssertionError(f"no line about {request_id}")


def test_a_client_that_asks_sees_the_phases_of_every_call(world: World) -> None:
    world.set_slots({"delay_ms": 900}, {"delay_ms": 100})
    reply = world.get("/api/first?timeout=2000", X_Fanout_Receipt="1")
    told = timings(reply.headers["server-timing"])
    assert ("call1.connect" in told) != ("call1.reused" in told)
    assert {"call1.wait", "call1.receive", "call1.done", "call1.kept"} <= set(told)
    assert 95 <= float(told["call1.wait"].removeprefix("dur=")) < 250  # until the first byte
    assert "call0.wait" in told
    assert "call0.receive" not in told
    gone_ms, why = told["call0.cancelled"].split(";")
    assert 0 <= float(gone_ms.removeprefix("dur=")) < 50
    assert why == 'desc="call 1 settled the race"'


def test_a_problem_has_the_receipt_that_the_log_has(world: World) -> None:
    world.set_slots({"fault": "status", "status": 503, "delay_ms": 10}, {"delay_ms": 900})
    reply = world.get("/api/all?timeout=200", X_Fanout_Receipt="1", X_Request_Id="receipt-2")
    assert (reply.status, reply.reason) == (500, "deadline")
    failed, cancelled = reply.json["receipt"]["calls"]
    assert (failed["outcome"], failed["error"], failed["status"]) == ("failed", "bad_status", 503)
    assert (cancelled["outcome"], cancelled["cancel_source"], cancelled["kept"]) == (
        "cancelled",
        "deadline",
        False,
    )
    assert [name for name, _ in cancelled["phases"]][-1] == "wait"
    assert 0 <= cancelled["cancel_to_exit_ms"] < 50
    line = line_of(world, "receipt-2")
    assert (line["level"], line["status"], line["reason"]) == ("warning", 500, "deadline")
    assert [call["outcome"] for call in line["calls"]] == ["failed", "cancelled"]


def test_the_leak_check_of_a_running_server_finds_nothing(world: World) -> None:
    """G3: with real connections, some of them cancelled."""
    world.set_slots({"delay_ms": 900}, {"delay_ms": 5})
    for _ in range(5):
        assert world.get("/api/first?timeout=2000").status == 200
    leak_check, logs = (world.statistics()[part] for part in ("leak_check", "logs"))
    assert leak_check["requests"] >= 5
    assert leak_check["tasks_spawned"] >= 10
    found = (
        leak_check["tasks_alive"],
        leak_check["leaked_tasks"],
        leak_check["leaked_connections"],
        leak_check["leaked_permits"],
    )
    assert found == (0, 0, 0, 0)
    assert logs["dropped"] == 0
