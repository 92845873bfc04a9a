"""Traces, as a collector gets them from the real program: `fanout serve`, a process of its own."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fanout import testing
from fanout.testing import Program
from tests.forked import running
from tests.observe.collector import Collector, Span, collecting
from tests.observe.telling_upstream import TellingUpstream, telling_upstream

SERVE = ("serve", "--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0", "--max-loop-lag-ms", "1000")
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "20"}  # milliseconds a span waits for others
CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENTS_SPAN = "00f067aa0ba902b7"
EXIT_WITHIN_S = 2.0  # of the last answer: 0.75 s for the collector, and what a busy machine adds


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as it:
        yield it


@pytest.fixture
def upstream() -> Iterator[TellingUpstream]:
    with telling_upstream() as it:
        yield it


@contextmanager
def serving(upstream: TellingUpstream, *paths: str, to: str, **environment: str) -> Iterator[Program]:
    """A server that calls these paths of the upstream, and sends its spans `to` a collector."""
    calls = [part for path in paths for part in ("--upstream", upstream.url + path)]
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": to, **SOON, **environment}
    with running(*SERVE, *calls, environment=variables) as program:
        yield program


def get(program: Program, target: str = "/api/first?timeout=5000", **headers: str) -> int:
    """Ask, and return the status of the answer."""
    connection = http.client.HTTPConnection(urlsplit(program.urls["api"]).netloc, timeout=20)
    try:
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def statistics(program: Program, admin: str = "admin") -> Any:
    connection = http.client.HTTPConnection(urlsplit(program.urls[admin]).netloc, timeout=20)
    try:
        connection.request("GET", "/statistics")
        return json.loads(connection.getresponse().read())["traces"]
    finally:
        connection.close()


def wait_for_errors(program: Program, line: bytes) -> None:
    ends_at = time.monotonic() + 20
    while line not in program.errors:
        assert time.monotonic() < ends_at, program.errors
        time.sleep(0.01)


def wait_for_statistics(program: Program, **wanted: int) -> None:
    give_up_at = time.monotonic() + 20
    while not wanted.items() <= (found := statistics(program)).items():
        assert time.monotonic() < give_up_at, found
        time.sleep(0.05)


def one_trace(collector: Collector) -> tuple[Span, list[Span]]:
    """The only server span and its children, which are all the rest."""
    (server,) = collector.wait_for_requests(1)
    children = collector.children(server)
    assert len(children) + 1 == len(collector.spans)
    return server, children


def test_a_race_is_a_server_span_and_a_client_span_for_each_call(
    collector: Collector, upstream: TellingUpstream
) -> None:
    """The loser is there too, with who cancelled it, why, and how long it took; and it is no error."""
    with serving(upstream, "/fast", "/slow", to=collector.url) as program:
        before_ns = time.time_ns()
        assert get(program) == 200
        server, (winner, loser) = one_trace(collector)
    assert (server.name, server.parent, server.status) == ("GET /api/first", "", "UNSET")
    moments = [server.started_ns, winner.started_ns, winner.ended_ns, loser.ended_ns, server.ended_ns]
    moments = [before_ns, *moments, time.time_ns()]
    assert moments == sorted(moments)
    assert server.attributes["http.route"] == server.attributes["url.path"] == "/api/first"
    assert server.attributes["http.request.method"] == "GET"
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["network.protocol.version"] == "1.1"
    assert server.attributes["server.address"] == "127.0.0.1"
    assert server.attributes["server.port"] == urlsplit(program.urls["api"]).port
    assert server.attributes["url.scheme"] == "http"
    assert server.attributes["fanout.reason"] == "success"
    assert server.attributes["fanout.timeout_ms"] == 5000
    assert (winner.kind, winner.name, winner.status) == ("CLIENT", "GET", "UNSET")
    assert winner.attributes["fanout.call.outcome"] == "won"
    assert winner.attributes["http.response.status_code"] == 200
    assert winner.attributes["url.full"] == upstream.url + "/fast"
    assert winner.attributes["server.port"] == urlsplit(upstream.url).port
    assert list(winner.events) == [
        f"fanout.phase.{name}" for name in ("connect", "wait", "receive", "done", "kept")
    ]
    assert all(winner.started_ns <= at <= winner.ended_ns for at in winner.events.values())
    assert (loser.kind, loser.status) == ("CLIENT", "UNSET")
    assert loser.attributes["fanout.call.outcome"] == "cancelled"
    assert loser.attributes["fanout.cancel.source"] == "explicit"
    assert loser.attributes["fanout.cancel.reason"] == "call 0 settled the race"
    assert 0 <= loser.attributes["fanout.cancel.to_exit_ms"] < 5000
    assert list(loser.events) == ["fanout.phase.connect", "fanout.phase.wait"]
    assert "error.type" not in {*server.attributes, *winner.attributes, *loser.attributes}
    assert server.resource["service.name"] == "fanout"
    assert server.resource["service.instance.id"]


def test_every_race_has_its_winner_and_its_loser(collector: Collector) -> None:
    """With the simulated upstream and several clients at once: complete traces, never mixed up."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **SOON}
    with running("upstream", "--bind", "127.0.0.1:0", "--reliable") as simulator:
        work = simulator.urls["upstream"] + "/api/work?delay_ms="
        calls = ("--upstream", f"{work}2000", "--upstream", f"{work}5")
        with running(*SERVE, *calls, environment=environment) as program, ThreadPoolExecutor(8) as clients:
            assert set(clients.map(lambda _: get(program), range(60))) == {200}
            servers = collector.wait_for_requests(60)
    assert len({server.trace for server in servers}) == 60
    assert len(collector.spans) == 180
    for server in servers:
        loser, winner = collector.children(server)
        assert winner.attributes["fanout.call.outcome"] == "won"
        assert loser.attributes["fanout.call.outcome"] == "cancelled"
        assert loser.attributes["fanout.cancel.reason"] == "call 1 settled the race"
        assert winner.ended_ns <= loser.ended_ns


def test_every_upstream_is_told_the_span_of_its_own_call(
    collector: Collector, upstream: TellingUpstream
) -> None:
    with serving(upstream, "/fast", "/slow", to=collector.url) as program:
        get(program)
        server, (winner, loser) = one_trace(collector)
        (to_fast,), (to_slow,) = upstream.calls("/fast", 1), upstream.calls("/slow", 1)
    assert to_fast["traceparent"] == f"00-{server.trace}-{winner.id}-03"
    assert to_slow["traceparent"] == f"00-{server.trace}-{loser.id}-03"
    assert "tracestate" not in {*to_fast, *to_slow}
    assert len({server.id, winner.id, loser.id}) == 3


def test_a_clients_trace_is_continued(collector: Collector, upstream: TellingUpstream) -> None:
    with serving(upstream, "/fast", to=collector.url) as program:
        get(program, traceparent=f"00-{CLIENT}-{CLIENTS_SPAN}-01", tracestate="shop=1,b=2")
        server, (first, second) = one_trace(collector)
        calls = upstream.calls("/fast", 2)
    assert (server.trace, server.parent, server.state) == (CLIENT, CLIENTS_SPAN, "shop=1,b=2")
    assert {call["traceparent"] for call in calls} == {
        f"00-{CLIENT}-{span.id}-01" for span in (first, second)
    }
    assert {call["tracestate"] for call in calls} == {"shop=1,b=2"}


def test_a_clients_decision_is_followed(collector: Collector, upstream: TellingUpstream) -> None:
    """A trace that its client does not record is passed on as such, with an id of ours, and not recorded."""
    with serving(upstream, "/fast", to=collector.url) as program:
        get(program, traceparent=f"00-{CLIENT}-{CLIENTS_SPAN}-00", tracestate="shop=1")
        passed_on = upstream.calls("/fast", 2)
        get(program)  # sampled, and so the last one to come
        server, _ = one_trace(collector)
        assert statistics(program)["requests_sampled"] == 1
    assert server.trace != CLIENT
    parts = [call["traceparent"].split("-") for call in passed_on]
    assert [part[:2] + part[3:] for part in parts] == [["00", CLIENT, "00"]] * 2
    assert len({CLIENTS_SPAN, *(part[2] for part in parts)}) == 2
    assert {call["tracestate"] for call in passed_on} == {"shop=1"}


def test_garbage_from_a_client_begins_a_new_trace_and_is_not_logged(
    collector: Collector, upstream: TellingUpstream
) -> None:
    with serving(upstream, "/fast", to=collector.url) as program:
        get(program, traceparent=f"00-{CLIENT}-{'0' * 16}-01", tracestate="shop=1")
        server, _ = one_trace(collector)
        (call, _) = upstream.calls("/fast", 2)
        program.stop()
        logged = program.errors
    assert server.parent == ""
    assert server.trace not in (CLIENT, "0" * 32)
    assert call["traceparent"].startswith(f"00-{server.trace}-")
    assert "tracestate" not in call
    assert b'"level":"info"' in logged
    assert b'"level":"warning"' not in logged


def test_the_sampler_is_the_standard_variables(collector: Collector, upstream: TellingUpstream) -> None:
    """Not sampled is not recorded, and is passed on: every call has a context whose flag says so."""
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with serving(upstream, "/fast", to=collector.url, **sampler) as program:
        get(program)
        calls = upstream.calls("/fast", 2)
        get(program, traceparent=f"00-{CLIENT}-{CLIENTS_SPAN}-01")
        server, _ = one_trace(collector)
    assert server.trace == CLIENT
    assert [call["traceparent"][-3:] for call in calls] == ["-02", "-02"]


def test_the_deadline_is_a_timeout(collector: Collector, upstream: TellingUpstream) -> None:
    with serving(upstream, "/fast", "/slow", to=collector.url) as program:
        assert get(program, "/api/all?timeout=300") == 500
        server, (answered, stopped) = one_trace(collector)
    assert (server.name, server.status) == ("GET /api/all", "ERROR")
    assert server.attributes["error.type"] == "timeout"
    assert server.attributes["http.response.status_code"] == 500
    assert (answered.status, answered.attributes["fanout.call.outcome"]) == ("UNSET", "ok")
    assert (stopped.status, stopped.attributes["error.type"]) == ("ERROR", "timeout")
    assert stopped.attributes["fanout.cancel.source"] == "deadline"


def test_failures_have_the_upstreams_status_or_a_word(
    collector: Collector, upstream: TellingUpstream
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **SOON}
    calls = ("--upstream", upstream.url + "/503", "--upstream", nobody)
    with running(*SERVE, *calls, environment=environment) as program:
        assert get(program) == 500
        server, (failed, unreachable) = one_trace(collector)
    assert (server.status, server.attributes["error.type"]) == ("ERROR", "no_success")
    assert (failed.status, failed.attributes["error.type"]) == ("ERROR", "503")
    assert failed.attributes["http.response.status_code"] == 503
    assert (unreachable.status, unreachable.attributes["error.type"]) == ("ERROR", "unreachable")
    assert "http.response.status_code" not in unreachable.attributes
    for call in (failed, unreachable):
        assert call.attributes["fanout.call.outcome"] == "failed"


def test_a_client_that_leaves_is_no_error_of_ours(collector: Collector, upstream: TellingUpstream) -> None:
    with serving(upstream, "/slow", to=collector.url) as program:
        parts = urlsplit(program.urls["api"])
        with socket.create_connection((parts.hostname, parts.port)) as client:
            client.sendall(b"GET /api/first?timeout=20000 HTTP/1.1\r\nHost: fanout\r\n\r\n")
            upstream.calls("/slow", 2)
        server, cancelled = one_trace(collector)
    assert (server.status, server.attributes["fanout.reason"]) == ("UNSET", "client_disconnected")
    assert "http.response.status_code" not in server.attributes
    assert server.attributes["server.address"] == "fanout"
    assert [(call.status, call.attributes["fanout.call.outcome"]) for call in cancelled] == [
        ("UNSET", "cancelled"),
        ("UNSET", "cancelled"),
    ]


def test_what_is_no_race_has_a_server_span_without_a_route(
    collector: Collector, upstream: TellingUpstream
) -> None:
    """A route is one of a few; a path can be anything. Neither a query nor an odd method gets into a name."""
    with serving(upstream, "/fast", to=collector.url) as program:
        assert get(program, "/nothing/%41?secret=1") == 404
        server, children = one_trace(collector)
    assert (server.name, server.status, children) == ("GET", "UNSET", [])
    assert server.attributes["url.path"] == "/nothing/%41"
    assert "http.route" not in server.attributes
    assert "secret" not in str(server)


def test_no_secret_gets_into_a_span(collector: Collector, upstream: TellingUpstream) -> None:
    """Not the credentials and queries of upstreams, nor a client's headers, nor those for the collector."""
    url = upstream.url.replace("http://", "http://user:hidden1@") + "/fast?token=hidden2"
    to = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url.replace("http://", "http://me:hidden3@"),
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=hidden4",
    }
    with running(*SERVE, "--upstream", url, environment={**SOON, **to}) as program:
        get(program, "/api/first?timeout=5000&q=hidden5", authorization="hidden6", cookie="hidden7")
        server, (call, _) = one_trace(collector)
        (told, _) = upstream.calls("/fast", 2)
        program.stop()
    assert {headers["api-key"] for headers in collector.headers} == {"hidden4"}
    assert told["authorization"].startswith("Basic ")
    assert call.attributes["url.full"] == upstream.url.replace("http://", "http://***@") + "/fast?token=***"
    assert "hidden" not in str([server, call]) + program.errors.decode() + program.output.decode()


def test_a_dead_collector_costs_a_log_line_and_no_answer(upstream: TellingUpstream) -> None:
    """Nobody listens there. Answers are what they were, spans are counted, the log is neither flooded nor
    told what may be secret in the URL."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        collector = f"127.0.0.1:{taken.getsockname()[1]}"
    with serving(
        upstream,
        "/fast",
        to="",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"http://me:hidden@{collector}/v1/traces?key=hidden",
        OTEL_EXPORTER_OTLP_TIMEOUT="1.5",  # enough for a second try
    ) as program:
        for request in range(1, 4):
            assert get(program) == 200
            wait_for_statistics(program, requests_sampled=request, spans_failed=3 * request)
        assert program.stop() == 0
    line = f"traces do not reach the collector at http://{collector}: connection refused. Spans"
    assert program.errors.count(b"traces do not reach the collector") == 1
    assert line.encode() in program.errors
    for unwanted in (b"Traceback", b"opentelemetry", b"hidden"):
        assert unwanted not in program.errors


def test_a_collector_that_cannot_be_reached_is_reported_before_the_first_request(
    upstream: TellingUpstream,
) -> None:
    """At once, and at the end it is what it was: not slow."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        collector = f"http://127.0.0.1:{taken.getsockname()[1]}"
    line = f"traces do not reach the collector at {collector}: connection refused. Spans".encode()
    with serving(upstream, "/fast", to=collector, OTEL_BSP_SCHEDULE_DELAY="60000") as program:
        wait_for_errors(program, line)
        assert get(program) == 200
        assert program.stop() == 0
    assert program.errors.count(line) == 1
    assert b"the collector fails (connection refused): 3 spans were not sent" in program.errors
    assert b"too slow" not in program.errors


def test_a_collector_that_does_not_speak_tls_is_not_one_that_permits_nothing(
    collector: Collector, upstream: TellingUpstream
) -> None:
    with serving(upstream, "/fast", to=collector.url.replace("http:", "https:")) as program:
        assert get(program) == 200
        wait_for_errors(program, b"traces do not reach the collector")
        assert program.stop() == 0
    assert b"permitted" not in program.errors
    assert b"wrong version number" in program.errors or b"record layer failure" in program.errors


def test_a_collector_that_goes_is_reported_at_the_first_try_that_fails(upstream: TellingUpstream) -> None:
    """Long before the exporter, which tries again and again, gives its spans up."""
    with socket.create_server(("127.0.0.1", 0)) as there:
        collector = f"http://127.0.0.1:{there.getsockname()[1]}"
        with serving(upstream, "/fast", to=collector, OTEL_EXPORTER_OTLP_TIMEOUT="60") as program:
            there.accept()[0].close()  # the server has looked
            there.close()
            assert get(program) == 200
            wait_for_errors(program, b"traces do not reach the collector")
            assert statistics(program)["spans_failed"] == 0
            assert program.stop() == 0
    assert b"the collector fails (connection refused): 3 spans were not sent" in program.errors


def test_a_collector_that_works_again_is_told_once(collector: Collector, upstream: TellingUpstream) -> None:
    collector.status = 400  # not worth a second try, says the protocol
    with serving(upstream, "/fast", to=collector.url) as program:
        for failed in (3, 6):
            get(program)
            wait_for_statistics(program, spans_failed=failed)
        collector.status = 200
        for delivered in (3, 6):
            get(program)
            wait_for_statistics(program, spans_delivered=delivered)
        program.stop()
    assert program.errors.count(b"traces do not reach the collector") == 1
    assert program.errors.count(b"traces reach the collector at " + collector.url.encode() + b" again") == 1
    assert program.errors.count(b'"level":"warning"') == 1


def test_a_stalled_collector_costs_spans_and_neither_answers_nor_the_exit(
    collector: Collector, upstream: TellingUpstream
) -> None:
    """G12: it takes a batch and says nothing. What does not fit into the queue is dropped and counted; the
    exit waits for it no longer than it must (G9)."""
    collector.stall()
    small = {"OTEL_BSP_MAX_QUEUE_SIZE": "30", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "3"}
    with serving(upstream, "/fast", to=collector.url, **small) as program:
        for _ in range(40):
            assert get(program) == 200
        found = statistics(program)
        assert (found["spans_waiting"], found["spans_dropped"]) == (30, 90)
        assert (found["spans_delivered"], found["spans_failed"]) == (0, 0)
        began = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - began < EXIT_WITHIN_S
    assert program.errors.count(b"the collector") == 1
    assert b"the collector was too slow: 30 spans were not sent" in program.errors
    assert b"Traceback" not in program.errors


def test_what_is_queued_is_sent_before_the_exit(collector: Collector, upstream: TellingUpstream) -> None:
    with serving(upstream, "/fast", to=collector.url, OTEL_BSP_SCHEDULE_DELAY="60000") as program:
        for _ in range(7):
            assert get(program) == 200
        assert collector.spans == []
        began = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - began < EXIT_WITHIN_S
    assert len(collector.servers()) == 7
    assert len(collector.spans) == 21
    assert b"not sent" not in program.errors


def test_each_worker_sends_its_own(collector: Collector, upstream: TellingUpstream) -> None:
    with serving(upstream, "/fast", to=collector.url, FANOUT_WORKERS="2") as program:
        for _ in range(40):  # a connection each, taken by whoever is free
            assert get(program) == 200
        collector.wait_for_requests(40)
        sampled = [statistics(program, admin)["requests_sampled"] for admin in ("admin", "admin-1")]
        assert program.stop() == 0
    assert sum(sampled) == 40
    instances = [server.resource["service.instance.id"] for server in collector.servers()]
    assert len(set(instances)) == sum(count > 0 for count in sampled)
    assert sorted(instances.count(instance) for instance in set(instances)) == sorted(n for n in sampled if n)


def test_the_resource_is_the_standard_variables(collector: Collector, upstream: TellingUpstream) -> None:
    said = {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}
    with serving(upstream, "/fast", to=collector.url, **said) as program:
        get(program)
        server, _ = one_trace(collector)
    assert server.resource["service.name"] == "shop"
    assert server.resource["deployment.environment.name"] == "test"


def without_opentelemetry(folder: Path, *, on_import: str = "") -> str:
    """A PYTHONPATH that hides it behind an empty package."""
    (folder / "opentelemetry").mkdir()
    (folder / "opentelemetry" / "__init__.py").write_text(on_import)
    return str(folder)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_traces_without_the_extra_are_one_clear_line(tmp_path: Path, workers: str) -> None:
    command = [sys.executable, "-m", "fanout", *SERVE, "--workers", workers]
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hidden@there:4318/v1"}
    variables = {"PYTHONPATH": without_opentelemetry(tmp_path), **endpoint}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=variables, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "fanout: OTEL_EXPORTER_OTLP_ENDPOINT=http://there:4318: traces need an extra: "
        "pip install 'fanout-server[otel]' (No module named 'opentelemetry.exporter')\n"
    )


def test_a_wrong_limit_is_one_clear_line() -> None:
    """OpenTelemetry reads it itself, and raises."""
    command = [sys.executable, "-m", "fanout", *SERVE]
    variables = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SPAN_EVENT_COUNT_LIMIT": "many"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=variables, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("fanout: OTEL_SPAN_EVENT_COUNT_LIMIT must be")


def test_without_traces_nothing_of_opentelemetry_is_imported(
    tmp_path: Path, upstream: TellingUpstream
) -> None:
    """And nothing is sent to the upstreams that was not sent before."""
    path = without_opentelemetry(tmp_path, on_import="raise SystemExit('it was imported')")
    options = ("--upstream", upstream.url + "/fast")
    with testing.running(*SERVE, *options, environment={"PYTHONPATH": path}) as program:
        assert get(program, traceparent=f"00-{CLIENT}-{CLIENTS_SPAN}-01") == 200
        assert statistics(program) is None
        (call, _) = upstream.calls("/fast", 2)
        assert program.stop() == 0
    assert not {"traceparent", "tracestate"} & call.keys()
