"""The strategies on a server that was started as a user starts it, with `fanout upstream` behind it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import pytest

from fanout.testing import Program
from fanout.testing.program import started
from tests.blackbox.conftest import World, request
from tests.forked import running

SEEN_WITHIN_S: Final = 5
SLOW: Final = {"delay_ms": 5000}


@contextmanager
def serving(*arguments: str) -> Iterator[Program]:
    program = started(
        "examples.strategies", "serve", "--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0", *arguments
    )
    try:
        program.wait_until_ready()
        yield program
        if program.process.poll() is None:
            assert program.stop() == 0
    finally:
        if program.process.poll() is None:
            program.kill()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Program]:
    with running("upstream", "--bind", "127.0.0.1:0") as simulator:
        yield simulator


@pytest.fixture(scope="module")
def server(simulator: Program) -> Iterator[World]:
    url = simulator.urls["upstream"] + "/api/work?slot="
    with serving("--upstream", f"{url}a", "--upstream", f"{url}b") as program:
        yield World(program, simulator)


def until(condition: Callable[[], bool]) -> None:
    gives_up_at = time.monotonic() + SEEN_WITHIN_S
    while not condition():
        assert time.monotonic() < gives_up_at
        time.sleep(0.01)


def since(server: World) -> int:
    calls = server.calls()
    return int(calls[-1]["id"]) if calls else 0


def ends(server: World, begin: int) -> list[str]:
    """How each call since then has ended, as its upstream saw it."""
    return [str(call["end"]) for call in server.calls(since=begin)]


def until_they_are(server: World, begin: int, expected: list[str]) -> None:
    until(lambda: ends(server, begin) == expected)


def check_that_nothing_is_left(server: World) -> None:
    found = server.statistics()
    assert found["leak_check"]["leaked_tasks"] == found["leak_check"]["leaked_connections"] == 0
    assert found["leak_check"]["leaked_permits"] == found["admission"]["in_flight"] == 0
    assert found["requests"]["guarantees_broken"]["bugs"] == 0


def test_hedged_makes_one_call_if_that_is_enough(server: World) -> None:
    begin = since(server)
    server.set_slots({"delay_ms": 20}, {"delay_ms": 20})
    reply = server.get("/api/hedged?timeout=5000")
    assert (reply.status, reply.json["time"], reply.outcomes) == (200, 20, ["won", "not_started"])
    calls = server.calls(since=begin)
    assert {(call["slot"], call["end"]) for call in calls} == {("a", "answered")}
    check_that_nothing_is_left(server)


def test_hedged_makes_the_second_call_when_the_first_is_slow_and_closes_the_losers_connection(
    server: World,
) -> None:
    """G3, G4: the upstream sees it."""
    begin = since(server)
    server.set_slots(SLOW, {"delay_ms": 20})
    reply = server.get("/api/hedged?timeout=10000")
    assert (reply.status, reply.json["time"], reply.outcomes) == (200, 20, ["cancelled", "won"])
    until(lambda: "client_closed" in ends(server, begin) and "open" not in ends(server, begin))
    check_that_nothing_is_left(server)


def test_hedged_makes_the_second_call_at_once_when_the_first_has_failed(server: World) -> None:
    server.set_slots({"fault": "status", "status": 503, "delay_ms": 0}, {"delay_ms": 20})
    reply = server.get("/api/hedged?timeout=5000")
    assert (reply.status, reply.json["time"], reply.outcomes) == (200, 20, ["failed", "won"])
    assert reply.took_s < 0.45  # less than the delay
    check_that_nothing_is_left(server)


def test_a_client_that_disconnects_takes_both_calls_with_it(server: World) -> None:
    """G6: while it waits for the delay, and after it."""
    server.set_slots(SLOW, SLOW)
    api = urlsplit(server.fanout.urls["api"])
    for calls in (1, 2):
        begin = since(server)
        with socket.create_connection((api.hostname or "", api.port or 0)) as client:
            client.sendall(b"GET /api/hedged?timeout=20000 HTTP/1.1\r\nHost: x\r\n\r\n")
            until_they_are(server, begin, ["open"] * calls)
        until_they_are(server, begin, ["client_closed"] * calls)
    until(lambda: server.statistics()["admission"]["in_flight"] == 0)
    check_that_nothing_is_left(server)


def test_quorum_needs_both_of_two(server: World) -> None:
    server.set_slots({"delay_ms": 20}, {"delay_ms": 40})
    assert server.get("/api/quorum?timeout=5000").json == [{"time": 20}, {"time": 40}]
    begin = since(server)
    server.set_slots({"fault": "status", "status": 503, "delay_ms": 100}, SLOW)
    reply = server.get("/api/quorum?timeout=5000")
    assert (reply.status, reply.reason, reply.outcomes) == (500, "no_success", ["failed", "cancelled"])
    until(lambda: "client_closed" in ends(server, begin) and "open" not in ends(server, begin))
    check_that_nothing_is_left(server)


def test_partial_answers_at_the_deadline_with_what_is_there(server: World) -> None:
    begin = since(server)
    server.set_slots({"delay_ms": 20}, SLOW)
    reply = server.get("/api/partial?timeout=400")
    assert (reply.status, reply.json, reply.outcomes) == (200, [{"time": 20}], ["ok", "cancelled"])
    assert reply.headers["x-fanout-partial"] == "1"
    until(lambda: "client_closed" in ends(server, begin))
    server.set_slots({"delay_ms": 20}, {"delay_ms": 20})
    complete = server.get("/api/partial?timeout=5000")
    assert len(complete.json) == 2
    assert "x-fanout-partial" not in complete.headers
    check_that_nothing_is_left(server)


def test_the_servers_own_endpoints_and_views_are_as_without_the_strategies(server: World) -> None:
    server.set_slots({"delay_ms": 20}, {"delay_ms": 20})
    assert server.get("/api/hedged?timeout=5000").status == 200
    assert server.get("/api/first?timeout=5000").status == 200
    assert server.get("/api/all?timeout=5000").status == 200
    assert server.get("/api/hedged?timeout=0").reason == "invalid_timeout"
    assert server.get("/api/hedged/").status == 404
    assert "/api/hedged" not in server.get("/openapi.json").json["paths"]
    metrics = request(server.fanout.urls["admin"], "/metrics").body.decode()
    assert re.search(
        r'fanout_answers_total\{endpoint="hedged",result="useful",reason="success"\}|'
        r'fanout_answers_total\{endpoint="hedged",reason="success",result="useful"\}',
        metrics,
    )
    assert re.search(r'fanout_calls_total\{.*outcome="not_started".*\}', metrics)


@pytest.mark.long
def test_workers_serve_them_too(simulator: Program) -> None:
    url = simulator.urls["upstream"] + "/api/work?delay_ms=20&fault=none"
    with serving("--workers", "2", "--upstream", url) as program:
        reply = request(program.urls["api"], "/api/hedged?timeout=5000")
        assert (reply.status, reply.outcomes) == (200, ["won", "not_started"])


def test_settings_and_flags_are_those_of_the_program() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "examples.strategies", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert "--upstream" in run("serve", "--help").stdout
    wrong = run("serve", "--max-in-flight", "many")
    assert wrong.returncode == 2
    assert re.fullmatch(
        r"fanout: .*max-in-flight.*'many'.*\n|fanout: --max-in-flight='many'.*\n", wrong.stderr
    )
