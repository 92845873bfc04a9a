"""What clients can get wrong, and the guarantees that only the wire can show, over real sockets."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

import pytest

from tests.api.test_timeouts import BAD_TIMEOUTS
from tests.blackbox.conftest import World, request


@pytest.mark.parametrize("endpoint", ["first", "all"])
@pytest.mark.parametrize("query", BAD_TIMEOUTS.values(), ids=BAD_TIMEOUTS)
def test_a_bad_timeout_is_a_400_and_makes_no_call(world: World, endpoint: str, query: bytes) -> None:
    admitted = world.statistics()["requests"]["races"]
    target = f"/api/{endpoint}?" + quote_from_bytes(query, safe="=&%+")
    reply = world.get(target)
    assert (reply.status, reply.reason) == (400, "invalid_timeout")
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.took_s < 0.3
    assert world.statistics()["requests"]["races"] == admitted


def test_the_loser_is_closed_on_the_wire(world: World) -> None:
    """A winner at 100 ms, a loser that would take 900: answered at about 100 ms, and the loser's
    connection is closed within 50 ms of it."""
    world.set_slots({"delay_ms": 900}, {"delay_ms": 100})
    reply = world.get("/api/first?timeout=2000")
    assert (reply.status, reply.json) == (200, {"time": 100})
    assert 0.1 <= reply.took_s < 0.25
    loser, winner = sorted(world.calls()[-2:], key=lambda call: str(call["slot"]))
    assert (winner["end"], loser["end"]) == ("answered", "client_closed")
    closed_at = loser["started_at"] * 1000 + loser["client_closed_ms"]
    answered_at = winner["started_at"] * 1000 + winner["answered_ms"]
    assert -5 < closed_at - answered_at < 50  # the simulator notes an answer once it is written, not before


def test_a_fast_failure_does_not_win_on_the_wire(world: World) -> None:
    world.set_slots({"delay_ms": 50, "fault": "status", "status": 500}, {"delay_ms": 200})
    reply = world.get("/api/first?timeout=2000")
    assert (reply.status, reply.json) == (200, {"time": 200})
    assert 0.2 <= reply.took_s < 0.4


def test_all_failed_is_known_at_once(world: World) -> None:
    failing = {"delay_ms": 50, "fault": "status", "status": 500}
    world.set_slots(failing, failing)
    reply = world.get("/api/first?timeout=5000")
    assert (reply.status, reply.reason) == (500, "no_success")
    assert [call["status"] for call in reply.json["calls"]] == [500, 500]
    assert 0.05 <= reply.took_s < 0.3


@pytest.mark.parametrize("target", ["/livez", "/readyz"])
def test_the_admin_listener_answers(world: World, target: str) -> None:
    assert request(world.fanout.urls["admin"], target).status == 200


def test_the_admin_endpoints_are_not_public(world: World) -> None:
    for target in ("/livez", "/readyz", "/statistics", "/metrics"):
        assert world.get(target).status == 404
