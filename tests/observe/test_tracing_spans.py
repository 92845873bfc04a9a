"""The spans of a request, in this process: what they say, when they begin and end, and what they are of."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from loguru import logger
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode
from trio.testing import MockClock

import fanout
from fanout.observe import tracing as tracing_module
from fanout.observe.receipt import Receipt
from fanout.observe.tracing import Tracing
from fanout.observe.tracing_context import RequestTrace
from fanout.observe.tracing_delivery import Delivery
from fanout.observe.tracing_settings import TracingSettings, TracingStatistics, read_tracing
from tests.observe.test_metrics import FIRST, LOST, WON
from tests.observe.test_tracing_context import headers, scope

CLIENT = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = headers(f"00-{CLIENT}-00f067aa0ba902b7-01", "shop=1")


class Kept(SpanExporter):
    """Keeps the spans, and says what it is told to say of them."""

    def __init__(self, *results: SpanExportResult) -> None:
        self.spans: list[ReadableSpan] = []
        self.results = list(results)
        self.shut_down = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return self.results.pop(0) if self.results else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.shut_down += 1


def settings(**variables: str) -> TracingSettings:
    found = read_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:key@collector:4318", **variables})
    assert found is not None
    return found


def tracing(to: SpanExporter, **variables: str) -> Tracing:
    return Tracing(settings(**variables), ["http://a.test:81/x", "https://b.test/y"], to)


def ended(tracer: Tracing, receipt: Receipt = FIRST, sent: list[tuple[bytes, bytes]] = PARENT) -> Receipt:
    """That request, with the trace it was given. Its calls have asked for their headers."""
    trace = tracer.begin(scope(sent), dict(sent))
    for call in receipt.calls:
        trace.headers(call.call)
    return receipt._replace(trace=trace)


def ms(span: ReadableSpan, base_ns: int) -> tuple[float, float]:
    """When it began and ended, on Trio's clock."""
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.start_time - base_ns) / 1e6, (span.end_time - base_ns) / 1e6


async def test_a_request_is_a_server_span_around_a_client_span_for_each_call() -> None:
    """Times are Unix times of what was measured on Trio's clock."""
    kept = Kept()
    tracer = tracing(kept)
    phases = (("connect", 10.0), ("wait", 10.125))
    receipt = ended(tracer, FIRST._replace(calls=(WON._replace(phases=phases), LOST)))
    base_ns = time.time_ns() - int(trio.current_time() * 1e9)
    tracer.consume(receipt)
    await tracer.close()
    winner, loser, server = sorted(kept.spans, key=lambda span: (span.kind != SpanKind.CLIENT, span.end_time))
    trace = receipt.trace
    assert isinstance(trace, RequestTrace)

    assert (server.name, server.kind) == ("GET /api/first", SpanKind.SERVER)
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert (server.context.trace_id, server.context.span_id) == trace.own
    assert f"{server.context.trace_id:032x}" == CLIENT
    assert ms(server, base_ns) == pytest.approx((10_000, 10_251), abs=50)
    assert dict(server.attributes or {}) == {
        "url.path": "/api/first",
        "url.scheme": "http",
        "http.route": "/api/first",
        "network.protocol.version": "1.1",
        "http.request.method": "GET",
        "fanout.request_id": "id-1",
        "fanout.reason": "success",
        "fanout.used_ms": 251.0,
        "fanout.late_by_ms": 0.0,
        "fanout.timeout_ms": 1000,
        "fanout.reserve_ms": 20.0,
        "http.response.status_code": 200,
    }
    for span, index in ((winner, 0), (loser, 1)):
        assert (span.name, span.kind, span.status.status_code) == ("GET", SpanKind.CLIENT, StatusCode.UNSET)
        assert (span.parent, span.context.trace_id) == (server.context, server.context.trace_id)
        assert span.context.span_id == trace.calls[index]
    began = ms(server, base_ns)[0]
    assert [at - began for at in ms(winner, base_ns)] == pytest.approx([0, 250], abs=0.01)
    assert [at - began for at in ms(loser, base_ns)] == pytest.approx([0, 250.1], abs=0.01)
    assert [event.name for event in winner.events] == ["fanout.phase.connect", "fanout.phase.wait"]
    phases_ms = [(event.timestamp - base_ns) / 1e6 - began for event in winner.events]
    assert phases_ms == pytest.approx([0, 125], abs=0.01)
    assert dict(winner.attributes or {}) == {
        "http.request.method": "GET",
        "url.full": "http://a.test:81/x",
        "network.protocol.version": "1.1",
        "server.address": "a.test",
        "server.port": 81,
        "fanout.call.index": 0,
        "fanout.call.outcome": "won",
        "fanout.connection.reused": True,
        "fanout.connection.kept": True,
        "http.response.status_code": 200,
    }
    assert (loser.attributes or {})["url.full"] == "https://b.test/y"
    assert (server.resource.attributes["service.name"], server.resource.attributes["service.version"]) == (
        "fanout",
        fanout.__version__,
    )
    scope_of = server.instrumentation_scope
    assert scope_of is not None
    assert (scope_of.name, scope_of.version) == ("fanout", fanout.__version__)
    assert tracer.statistics() == TracingStatistics(1, 3, 0, 0, 0)
    assert kept.shut_down >= 1


async def test_a_service_has_the_name_that_the_environment_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=9,team=blue")
    kept = Kept()
    tracer = tracing(kept)
    tracer.consume(ended(tracer, sent=[]))
    await tracer.close()
    assert {span.context.trace_flags for span in kept.spans} == {0x03}, "sampled, and of a random id"
    said = kept.spans[0].resource.attributes
    assert (said["service.name"], said["service.version"], said["team"]) == ("shop", "9", "blue")


async def test_errors_are_errors_and_a_request_without_a_route_has_no_route() -> None:
    kept = Kept()
    tracer = tracing(kept)
    failed = WON._replace(outcome="failed", error="broken")
    tracer.consume(ended(tracer, FIRST._replace(status=500, reason="no_success", calls=(failed, LOST))))
    other = FIRST._replace(timeout_ms=None, reserve_ms=None, calls=(), status=404, reason="not_found")
    tracer.consume(ended(tracer, other))
    await tracer.close()
    assert [(span.name, span.status.status_code) for span in kept.spans] == [
        ("GET", StatusCode.ERROR),
        ("GET", StatusCode.UNSET),
        ("GET /api/first", StatusCode.ERROR),
        ("GET", StatusCode.UNSET),
    ]
    assert kept.spans[-1].kind == SpanKind.SERVER


async def test_a_call_that_was_not_started_has_no_span_and_one_that_did_not_end_no_length() -> None:
    kept = Kept()
    tracer = tracing(kept, OTEL_BSP_MAX_QUEUE_SIZE="3")
    not_started = LOST._replace(outcome="not_started", started_at=None)
    endless = WON._replace(ended_at=None)
    tracer.consume(ended(tracer, FIRST._replace(calls=(not_started, endless))))
    tracer.consume(ended(tracer))  # for three spans there is no room beside two
    await tracer.close()
    client, server = kept.spans
    assert (client.kind, server.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert client.start_time == client.end_time
    assert tracer.statistics() == TracingStatistics(2, 2, 0, 3, 0)


async def test_times_are_exact_however_long_the_machine_has_been_up(mock_clock: MockClock) -> None:
    """Trio's clock counts from its own beginning, and a span's times are of Unix."""
    mock_clock.jump(1e9)
    kept = Kept()
    tracer = tracing(kept)
    now, now_ns = trio.current_time(), time.time_ns()
    called = WON._replace(started_at=now - 3, ended_at=now - 2, phases=())
    tracer.consume(ended(tracer, FIRST._replace(arrived_at=now - 4, ended_at=now - 1, calls=(called,))))
    await tracer.close()
    call, server = kept.spans
    assert ms(server, now_ns) == pytest.approx((-4000, -1000), abs=50)
    assert ms(call, now_ns) == pytest.approx((-3000, -2000), abs=50)


async def test_what_was_sampled_is_not_sampled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was decided when the request arrived, and its upstreams received that decision."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")  # the SDK would read it itself
    kept = Kept()
    tracer = tracing(kept)
    tracer.consume(ended(tracer))
    await tracer.close()
    assert len(kept.spans) == 3


async def test_a_queue_that_may_be_long_loses_no_span() -> None:
    """The SDK's own would end at 2,048, and drop what is older."""
    tracer = tracing(Kept(), OTEL_BSP_MAX_QUEUE_SIZE="2700", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="2700")
    for _ in range(900):
        tracer.consume(ended(tracer))
    await tracer.close()
    assert tracer.statistics() == TracingStatistics(900, 2700, 0, 0, 0)


async def test_a_span_waits_for_others_no_longer_than_the_setting_says() -> None:
    kept = Kept()
    tracer = tracing(kept, OTEL_BSP_SCHEDULE_DELAY="10")
    tracer.consume(ended(tracer))
    with trio.fail_after(3):  # the SDK's own delay is 5 s
        while len(kept.spans) < 3:
            await trio.sleep(0.002)
    await tracer.close()


async def test_a_request_that_is_not_sampled_has_no_span() -> None:
    kept = Kept()
    tracer = tracing(kept, OTEL_TRACES_SAMPLER="always_off")
    tracer.consume(ended(tracer))
    tracer.consume(FIRST)
    await tracer.close()
    assert (kept.spans, tracer.statistics()) == ([], TracingStatistics(0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("environment", "collector"),
    [
        ({}, "http://collector:4318"),
        ({"http_proxy": "http://proxy:3128"}, None),
        ({"https_proxy": "http://proxy:3128"}, "http://collector:4318"),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "collector"}, "http://collector:4318"),
    ],
)
async def test_the_collector_is_named_unless_a_proxy_is_in_between(
    environment: dict[str, str], collector: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    tracer = tracing(Kept())
    assert tracer.collector == collector
    await tracer.close()


class Said(list[str]):
    """The lines that are logged, each after its level."""

    def __enter__(self) -> Said:
        self._handler = logger.add(
            lambda message: self.append(str(message).rstrip()), format="{level} {message}", level="INFO"
        )
        return self

    def __exit__(self, *_: object) -> None:
        logger.remove(self._handler)


class Stuck(Kept):
    """An exporter that waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.let_go.wait(20)
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (None, "the collector was too slow: 3 spans were not sent"),
        ("it is away", "the collector fails (it is away): 3 spans were not sent"),
    ],
)
async def test_a_collector_that_is_too_slow_is_not_waited_for(
    why: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: with what else an exit takes it stays below a second."""
    assert tracing_module.FLUSH_WITHIN_S < 1
    monkeypatch.setattr(tracing_module, "FLUSH_WITHIN_S", 0.05)
    stuck = Stuck()
    tracer = tracing(stuck)
    with Said() as said:
        if why is not None:
            tracer.collector_fails(why)
        tracer.consume(ended(tracer))
        with trio.fail_after(10):
            await tracer.close()
    assert said[-1] == f"WARNING {words}"
    assert stuck.shut_down == 1
    stuck.let_go.set()


class Retrying(Stuck):
    """As OTLP's exporter between two tries: to shut it down is to fail. Its thread counts that at once."""

    tracer: Tracing

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        super().export(spans)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.let_go.set()
        ends_at = time.monotonic() + 10
        while self.tracer.statistics().spans_failed < 3:
            assert time.monotonic() < ends_at
            time.sleep(0.001)


async def test_what_was_not_sent_is_counted_before_the_exporter_gives_it_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exporter's thread is free to count the same spans as failed before the line is logged."""
    monkeypatch.setattr(tracing_module, "FLUSH_WITHIN_S", 0.05)
    to = Retrying()
    to.tracer = tracing(to)
    with Said() as said:
        to.tracer.consume(ended(to.tracer))
        with trio.fail_after(10):
            await to.tracer.close()
    assert said[-1] == "WARNING the collector was too slow: 3 spans were not sent"
    assert to.tracer.statistics() == TracingStatistics(1, 0, 0, 0, 3)


async def test_without_a_thread_the_rest_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_thread(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    kept = Kept()
    tracer = tracing(kept)
    tracer.consume(ended(tracer))
    monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)
    with Said() as said:
        await tracer.close()
    assert said[-1].startswith("WARNING can't start new thread: ")
    assert kept.shut_down == 1


# What becomes of spans


def delivery(to: SpanExporter, most: int = 10) -> Delivery:
    return Delivery(to, settings(OTEL_BSP_MAX_QUEUE_SIZE=str(most)))


def counts(of: Delivery) -> tuple[int, int, int, int]:
    return of.waiting, of.delivered, of.failed, of.dropped


SPAN: Any = object()


def test_spans_are_admitted_up_to_the_limit_and_counted() -> None:
    one = delivery(Kept(), most=5)
    assert (one.admit(3), one.admit(3), one.admit(2), one.admit(1)) == (True, False, True, False)
    assert counts(one) == (5, 0, 0, 4)
    one.export([SPAN, SPAN])
    assert counts(one) == (3, 2, 0, 4)
    one._exporter = Kept(SpanExportResult.FAILURE)
    one.export([SPAN])
    assert counts(one) == (2, 2, 1, 4)
    one.shutdown()


def test_a_collector_that_fails_is_logged_once_and_once_more_when_it_works_again() -> None:
    failure, success = SpanExportResult.FAILURE, SpanExportResult.SUCCESS
    one = delivery(Kept(success, failure, failure, success, success, failure))
    lost = (
        "WARNING traces do not reach the collector at http://collector:4318: it did not take them. "
        "Spans are dropped and counted until they do"
    )
    with Said() as said:
        results = [one.export([SPAN]) for _ in range(5)]
        assert (results, one.failing_for) == ([success, failure, failure, success, success], None)
        one.export([SPAN])
    assert said == [lost, "INFO traces reach the collector at http://collector:4318 again", lost]
    assert one.failing_for == "it did not take them"
    one.shutdown()


def test_after_it_has_given_up_nothing_more_is_said() -> None:
    kept = Kept(SpanExportResult.FAILURE)
    one = delivery(kept)
    with Said() as said:
        one.give_up()
        one.export([SPAN])
        one.is_failing("late")
        assert (said, one.failing_for, kept.shut_down) == ([], None, 1)
        two = delivery(Kept())
        two.is_failing("why")
        two.give_up()
        two.export([SPAN])
        assert (two.failing_for, len(said)) == ("why", 1)
    one.shutdown()
    two.shutdown()


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("message", "args", "why"),
    [
        ("Failed with %s", ("status 503",), "Failed with status 503"),
        ("Plain", (), "Plain"),
        ("Plain", None, "Plain"),
        ("100 %", (), "100 %"),
        ("%(x)s", ({"x": 1},), "1"),
        ("%s, retrying in %s", (ConnectionRefusedError(111, "x"), 1), "connection refused"),
        ("%s", (caused(RuntimeError("http://secret"), TimeoutError(110, "x")),), "connection timed out"),
        ("%s", (RuntimeError("http://secret"),), "RuntimeError"),
        ("%s", (OSError("without a number"),), "OSError"),
    ],
)
def test_what_the_exporter_logs_is_why_the_collector_fails(
    message: str, args: tuple[object, ...] | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the system's words: the exception's own can hold the URL. The exporter's line is not written."""
    log = logging.getLogger(trace_exporter.__name__)
    monkeypatch.setattr(log, "filters", [])
    one = delivery(Kept())
    record = logging.LogRecord(log.name, logging.ERROR, "", 1, message, args, None)
    with Said():
        assert log.filter(record) is False
    assert one.failing_for == why
    one.shutdown()
    assert log.filter(record)


async def test_a_close_that_sends_everything_says_nothing() -> None:
    kept = Kept()
    tracer = tracing(kept)
    with Said() as said:
        tracer.consume(ended(tracer))
        await tracer.close()
    assert (said, len(kept.spans)) == ([], 3)


async def test_nothing_of_it_waits_for_the_collector_when_the_process_exits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G9: `close` has sent what could be sent."""
    at_exit: list[object] = []
    monkeypatch.setattr(atexit, "register", lambda function, *_, **__: at_exit.append(function))
    tracer = tracing(Kept())
    await tracer.close()
    assert at_exit == []
