"""Deadlines travel, over real sockets and TLS: the simulator's record against the receipt's clock."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from fanout.config import DEFAULT_DEADLINE_HEADER
from tests.blackbox.conftest import Files, Reply, World, request
from tests.forked import running

FREE = ("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0")
WITHIN_MS = 2  # of the truth
MACHINE_MS = 100  # a busy machine runs a process that much later
SETTLED_WITHIN_S = 10
HANGS = {"fault": "hang_before_head"}
SLOW = ("--reliable", "--min-delay-ms=5000", "--max-delay-ms=5000")
TIMEOUT_MS = 150


@contextmanager
def served(files: Files, *options: str, upstream: tuple[str, ...] = ()) -> Iterator[World]:
    """A fanout whose upstream speaks TLS."""
    certificate = ("--tls-cert", files.cert, "--tls-key", files.key)
    with running("upstream", "--bind", "127.0.0.1:0", *certificate, *upstream) as simulator:
        port = simulator.urls["upstream"].rpartition(":")[2]
        url = f"https://localhost:{port}/api/work"
        with running("serve", *FREE, "--upstream", url, "--upstream-ca", files.ca, *options) as fanout:
            yield World(fanout, simulator)


Records = list[dict[str, Any]]


def recorded(files: Files, world: World) -> Records:
    """What a simulator that speaks TLS has seen."""
    url = world.simulator.urls["upstream"].replace("127.0.0.1", "localhost")
    found: Records = httpx.get(f"{url}/calls", verify=ssl.create_default_context(cafile=files.ca)).json()[
        "calls"
    ]
    return found


def ended(read: Callable[[], Records]) -> Records:
    """The records, once all calls have ended."""
    gives_up_at = time.monotonic() + SETTLED_WITHIN_S
    calls = read()
    while any(call["end"] == "open" for call in calls):
        assert time.monotonic() < gives_up_at, calls
        time.sleep(0.01)
        calls = read()
    return calls


def check(reply: Reply, records: Records) -> None:
    """Each call was sent the time that was left by the receipt, and ended when it was over."""
    receipt = reply.json["receipt"]
    said = [call["time_left_ms"] for call in receipt["calls"]]
    assert sorted(said) == sorted(record["time_left_ms"] for record in records)
    for call in receipt["calls"]:
        sent_ms = max(at for phase, at in call["phases"] if phase == "wait")
        left_ms = receipt["timeout_ms"] - receipt["reserve_ms"] - sent_ms
        assert left_ms - 1 - WITHIN_MS <= call["time_left_ms"] <= left_ms + WITHIN_MS
    for record in records:
        late_ms = record["client_closed_ms"] - record["time_left_ms"]
        assert -MACHINE_MS <= late_ms <= MACHINE_MS  # from when it has read the request: a little later


def test_the_upstream_is_sent_the_time_that_is_left(world: World) -> None:
    world.set_slots(HANGS, HANGS)
    for _ in range(5):
        reply = world.get(f"/api/all?timeout={TIMEOUT_MS}", X_Fanout_Receipt="1")
        assert reply.reason == "deadline"
        check(reply, ended(world.calls)[-2:])


def test_over_tls_the_handshake_is_not_left_any_more(files: Files) -> None:
    with served(files, upstream=SLOW) as world:
        for _ in range(3):
            reply = world.get(f"/api/all?timeout={TIMEOUT_MS}", X_Fanout_Receipt="1")
            check(reply, ended(partial(recorded, files, world))[-2:])
            phases = dict(reply.json["receipt"]["calls"][0]["phases"])
            assert phases["connect"] < phases["tls"] < phases["wait"]


def test_with_less_than_the_minimum_left_nothing_is_sent(files: Files) -> None:
    """A new connection over TLS takes milliseconds, so near the boundary some calls are sent and some not."""
    min_call_ms, reserve_ms = 50, 20
    options = ("--min-call-ms", str(min_call_ms), "--reserve-ms", str(reserve_ms))
    with served(files, *options, upstream=SLOW) as world:
        for more_ms in range(-1, 8):
            timeout_ms = min_call_ms + reserve_ms + more_ms
            reply = world.get(f"/api/all?timeout={timeout_ms}", X_Fanout_Receipt="1")
            assert reply.reason == "deadline"
            for call in reply.json["receipt"]["calls"]:
                assert (call["time_left_ms"] is None) == ("wait" not in dict(call["phases"]))
                if more_ms < 0:
                    assert call["outcome"] == "not_started"
        assert all(record["time_left_ms"] >= min_call_ms for record in recorded(files, world))


def test_a_client_sends_its_budget_in_the_same_header(world: World) -> None:
    world.set_slots(HANGS, HANGS)
    for target, sent, timeout_ms, source in (
        ("/api/first", "150", 150, "header"),
        ("/api/all?timeout=100", "150", 100, "parameter"),
        ("/api/all?timeout=9000", "100", 100, "header"),
    ):
        receipt = world.get(target, **{DEFAULT_DEADLINE_HEADER: sent, "X_Fanout_Receipt": "1"}).json[
            "receipt"
        ]
        assert (receipt["timeout_ms"], receipt["timeout_from"]) == (timeout_ms, source)


@pytest.mark.parametrize("sent", ["0", "", "soon", "+5", "1.5", "5, 5"])
def test_a_bad_budget_is_a_400_that_names_the_header(world: World, sent: str) -> None:
    reply = world.get("/api/first?timeout=100", **{DEFAULT_DEADLINE_HEADER: sent})
    assert (reply.status, reply.reason) == (400, "invalid_timeout")
    assert DEFAULT_DEADLINE_HEADER in reply.json["detail"]


@pytest.mark.parametrize("http2", [False, True])
def test_a_budget_means_the_same_over_both_protocols(files: Files, http2: bool) -> None:
    """Also with another name, and it is sent on under that name."""
    context = ssl.create_default_context(cafile=files.ca)
    tls = ("--tls-cert", files.cert, "--tls-key", files.key, "--deadline-header", "X-Left")
    with served(files, *tls, upstream=(*SLOW, "--deadline-header", "x-left")) as world:
        base = world.fanout.urls["api"].replace("127.0.0.1", "localhost")
        with httpx.Client(http2=http2, verify=context) as client:
            reply = client.get(
                f"{base}/api/first", headers={"X-Left": "120", DEFAULT_DEADLINE_HEADER: "soon"}
            )
            assert reply.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert (reply.status_code, reply.json()["timeout_ms"]) == (500, 120)
            twice = client.get(f"{base}/api/first", headers=[("X-Left", "120"), ("X-Left", "120")])
            assert (twice.status_code, twice.json()["reason"]) == (400, "invalid_timeout")
            assert "X-Left was given 2 times" in twice.json()["detail"]
        assert [0 < record["time_left_ms"] <= 100 for record in recorded(files, world)] == [True] * 2


def test_without_the_header_upstreams_are_sent_nothing_and_clients_not_read() -> None:
    with running("upstream", "--bind", "127.0.0.1:0", *SLOW) as simulator:
        url = f"{simulator.urls['upstream']}/api/work"
        with running("serve", *FREE, "--upstream", url, "--deadline-header", "") as fanout:
            sent = {DEFAULT_DEADLINE_HEADER: "soon", "X-Fanout-Receipt": "1"}
            reply = request(fanout.urls["api"], "/api/first?timeout=100", headers=sent)
            assert [call["time_left_ms"] for call in reply.json["receipt"]["calls"]] == [None, None]
            assert reply.json["receipt"]["timeout_from"] == "parameter"
        calls = request(simulator.urls["upstream"], "/calls").json["calls"]
        assert [call["time_left_ms"] for call in calls] == [None, None]


def test_an_upstream_that_heeds_it_is_done_when_the_client_is() -> None:
    """Its record says so: what it would have worked on for 5 s, it has given up after what it was sent."""
    with running("demo", *FREE, *SLOW, "--heed-deadline") as program:
        upstream = program.urls["calls"]
        # A client of the upstream that does not go when its time is over.
        answer = request(upstream, "/api/work", headers={DEFAULT_DEADLINE_HEADER: "50"})
        assert answer.status == 504
        (record,) = request(upstream, "/calls").json["calls"]
    assert (record["status"], record["end"], record["fault"]) == (504, "answered", "out_of_time")
    assert 50 <= record["answered_ms"] < 5000
