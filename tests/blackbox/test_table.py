"""Every upstream fault, for both endpoints, beside a good call and beside the same fault, over real sockets.

What to expect is derived from the simulator's own table, which says what a strict client makes of each fault.
"""

from __future__ import annotations

from typing import Any

import pytest

from fanout.tools.simulator.faults import FAULTS
from tests.blackbox.conftest import World

FAULT_MS = 20  # after that the faulty call begins to misbehave
GOOD_MS = 150  # the good call's answer comes clearly later
TIMEOUT_MS = 600
SLACK_S = (
    0.3  # on a busy machine; still far enough from the deadline to tell "at once" from "at the deadline"
)

HANGS = sorted(name for name, fault in FAULTS.items() if fault.kind == "hang")
FAILS = sorted(name for name, fault in FAULTS.items() if fault.kind not in (None, "hang"))
SUCCEEDS = sorted(name for name, fault in FAULTS.items() if fault.kind is None)


def test_the_table_has_all_faults() -> None:
    assert len(HANGS) + len(FAILS) + len(SUCCEEDS) == len(FAULTS) > 50


def faulty(name: str) -> dict[str, Any]:
    return {"delay_ms": FAULT_MS, "fault": name, "drip_ms": 50}


def good(delay_ms: int = GOOD_MS) -> dict[str, Any]:
    return {"delay_ms": delay_ms}


def error_of(name: str) -> str:
    return FAULTS[name].kind or "none"


@pytest.mark.parametrize("name", FAILS)
def test_first_beside_a_failing_call(world: World, name: str) -> None:
    """G4: the failure comes first and does not win."""
    good_ms = GOOD_MS
    world.set_slots(faulty(name), good())
    reply = world.get(f"/api/first?timeout={TIMEOUT_MS}")
    if reply.outcomes[0] == "cancelled":  # it did not come first: a bomb takes a busy machine its time
        good_ms = 3 * GOOD_MS
        world.set_slots(faulty(name), good(good_ms))
        reply = world.get(f"/api/first?timeout={TIMEOUT_MS}")
    assert (reply.status, reply.json) == (200, {"time": good_ms})
    assert reply.outcomes == ["failed", "won"]
    assert good_ms / 1000 <= reply.took_s < good_ms / 1000 + SLACK_S


@pytest.mark.parametrize("name", FAILS)
@pytest.mark.parametrize("endpoint", ["first", "all"])
def test_both_calls_failing(world: World, endpoint: str, name: str) -> None:
    """G4, G5: the error comes at once, not at the deadline, and says how each call failed."""
    world.set_slots(faulty(name), faulty(name))
    reply = world.get(f"/api/{endpoint}?timeout={TIMEOUT_MS}")
    assert (reply.status, reply.reason) == (500, "no_success")
    assert [call["outcome"] for call in reply.json["calls"]] == ["failed", "failed"]
    assert [call["error"] for call in reply.json["calls"]] == [error_of(name)] * 2
    assert FAULT_MS / 1000 <= reply.took_s < FAULT_MS / 1000 + SLACK_S
    assert reply.json["timeout_ms"] == TIMEOUT_MS
    assert reply.json["elapsed_ms"] <= reply.took_s * 1000


@pytest.mark.parametrize("name", FAILS)
def test_all_beside_a_failing_call(world: World, name: str) -> None:
    """G5: the failed call is left out."""
    world.set_slots(faulty(name), good())
    reply = world.get(f"/api/all?timeout={TIMEOUT_MS}")
    assert (reply.status, reply.json) == (200, [{"time": GOOD_MS}])
    assert reply.outcomes == ["failed", "ok"]
    assert GOOD_MS / 1000 <= reply.took_s < GOOD_MS / 1000 + SLACK_S


@pytest.mark.parametrize("name", SUCCEEDS)
def test_an_odd_success_is_a_success(world: World, name: str) -> None:
    """Also when it is asked for again right away, over whatever became of its connection."""
    world.set_slots(faulty(name), good())
    for _ in range(2):
        reply = world.get(f"/api/first?timeout={TIMEOUT_MS}")
        assert (reply.status, reply.json["time"]) == (200, FAULT_MS)
        assert reply.outcomes == ["won", "cancelled"]
    reply = world.get(f"/api/all?timeout={TIMEOUT_MS}")
    assert (reply.status, [answer["time"] for answer in reply.json]) == (200, [FAULT_MS, GOOD_MS])
    assert reply.outcomes == ["ok", "ok"]
    world.set_slots(faulty(name), faulty(name))
    reply = world.get(f"/api/all?timeout={TIMEOUT_MS}")
    assert (reply.status, [answer["time"] for answer in reply.json]) == (200, [FAULT_MS, FAULT_MS])


@pytest.mark.parametrize("name", HANGS)
def test_a_hanging_call(world: World, name: str) -> None:
    """G2, G4, G5: `first` takes the other call's success, everything else is a deadline on time."""
    world.set_slots(faulty(name), good())
    reply = world.get(f"/api/first?timeout={TIMEOUT_MS}")
    assert (reply.status, reply.json) == (200, {"time": GOOD_MS})
    assert reply.outcomes == ["cancelled", "won"]
    timeout_ms = 300
    reply = world.get(f"/api/all?timeout={timeout_ms}")
    assert (reply.status, reply.reason) == (500, "deadline")
    assert [call["outcome"] for call in reply.json["calls"]] == ["cancelled", "ok"]
    assert [call["error"] for call in reply.json["calls"]] == ["deadline", None]
    assert 0.2 < reply.took_s < timeout_ms / 1000 + SLACK_S
    world.set_slots(faulty(name), faulty(name))
    for endpoint in ("first", "all"):
        reply = world.get(f"/api/{endpoint}?timeout={timeout_ms}")
        assert (reply.status, reply.reason) == (500, "deadline")
        assert [call["error"] for call in reply.json["calls"]] == ["deadline"] * 2
        assert 0.2 < reply.took_s < timeout_ms / 1000 + SLACK_S


def test_afterwards_the_server_is_healthy(world: World) -> None:
    """G3, G7, G11, after every row above: nothing in flight, nothing in use, no bug, and it answers."""
    world.set_slots({"delay_ms": 10}, {"delay_ms": 10})
    assert world.get("/api/all?timeout=1000").json == [{"time": 10}] * 2
    statistics = world.statistics()
    assert statistics["admission"]["in_flight"] == 0
    (origin,) = statistics["upstream"]["origins"]
    assert (origin["in_use"], origin["connecting"]) == (0, 0)
    assert origin["open"] == origin["idle"]
    assert statistics["requests"]["guarantees_broken"]["bugs"] == 0
    assert statistics["requests"]["clients_disconnected"] == 0
    assert b"traceback" not in world.fanout.errors.lower()
