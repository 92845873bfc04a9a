"""Spans are counted whatever becomes of them, and no batch is larger than it may be."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from fanout.observe.receipt import Receipt
from fanout.observe.tracing import Tracing
from fanout.observe.tracing_delivery import EXPORTER_LOGGER, Delivery
from fanout.observe.tracing_settings import read_tracing
from tests.observe.test_metrics import FIRST

SOON_S = 10
SCOPE: dict[str, Any] = {
    "method": "GET",
    "path": "/api/first",
    "raw_path": b"/api/first",
    "scheme": "http",
    "http_version": "1.1",
    "headers": [],
}


class Kept(SpanExporter):
    """Keeps what it is given, by batch. breaks: at the next batch."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.breaks = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.breaks:
            self.breaks = False
            raise RuntimeError("a bug")
        self.batches.append([span.name for span in spans])
        return SpanExportResult.SUCCESS


def tracing(to: Kept, max_batch: int) -> Tracing:
    environment = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": str(max_batch)}
    settings = read_tracing(environment)
    assert settings is not None
    return Tracing(settings, ["http://a", "http://b"], to)


def ended(tracer: Tracing) -> Receipt:
    """A request with two calls."""
    trace = tracer.begin(SCOPE, {})
    for call in (0, 1):
        trace.headers(call)
    return FIRST._replace(trace=trace)


async def until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < ends_at
        await trio.sleep(0.002)


async def test_a_batch_is_no_larger_than_it_may_be() -> None:
    kept = Kept()
    tracer = tracing(kept, max_batch=7)
    for _ in range(5):
        tracer.consume(ended(tracer))
    await tracer.close()
    spans = [span for batch in kept.batches for span in batch]
    assert sorted(spans) == ["GET"] * 10 + ["GET /api/first"] * 5
    assert max(map(len, kept.batches)) <= 7
    statistics = tracer.statistics()
    assert (statistics.spans_delivered, statistics.spans_failed, statistics.spans_waiting) == (15, 0, 0)


async def test_spans_that_an_exporter_breaks_on_are_failed_and_the_next_are_sent() -> None:
    kept = Kept()
    tracer = tracing(kept, max_batch=3)
    for _ in range(2):
        kept.breaks = True
        tracer.consume(ended(tracer))
        await until(lambda: tracer.statistics().spans_waiting == 0)
    tracer.consume(ended(tracer))
    await tracer.close()
    assert list(map(len, kept.batches)) == [3]
    statistics = tracer.statistics()
    assert (statistics.spans_delivered, statistics.spans_failed, statistics.spans_waiting) == (3, 6, 0)


def tls_failure(kind: type[ssl.SSLError] = ssl.SSLError, **attributes: str) -> ssl.SSLError:
    """As OpenSSL's errors are: the number is not one of the system's."""
    error = kind(ssl.SSL_ERROR_SSL, "[SSL: REASON] reason (_ssl.c:1006)")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            tls_failure(
                ssl.SSLCertVerificationError,
                reason="CERTIFICATE_VERIFY_FAILED",
                verify_message="Self-signed one.",
            ),
            "self-signed one",
        ),
        (tls_failure(reason="WRONG_VERSION_NUMBER"), "wrong version number"),
        (tls_failure(), "ConnectionError"),
        (ConnectionRefusedError(111, "in other words"), "connection refused"),
    ],
    ids=["certificate", "protocol", "without a reason", "system"],
)
def test_why_the_collector_cannot_be_reached_is_said_in_words(error: OSError, says: str) -> None:
    """Of TLS in OpenSSL's: its numbers are those of other errors of the system."""
    settings = read_tracing({"OTEL_TRACES_EXPORTER": "otlp"})
    assert settings is not None
    delivery = Delivery(Kept(), settings)
    raised = ConnectionError("a text with a URL")
    raised.__cause__ = error
    logging.getLogger(EXPORTER_LOGGER).warning("%s", raised)
    delivery.shutdown()
    assert delivery.failing_for == says
