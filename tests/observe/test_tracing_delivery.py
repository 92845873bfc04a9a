"""Spans are made by the thread that sends them, and counted whatever becomes of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from fanout.observe.tracing_delivery import Delivery
from fanout.observe.tracing_settings import read_tracing

SOON_S = 10


class Kept(SpanExporter):
    """Keeps what it is given, by batch."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.batches.append([span.name for span in spans])
        return SpanExportResult.SUCCESS


def delivery(to: Kept, max_batch: int) -> Delivery:
    environment = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": str(max_batch)}
    settings = read_tracing(environment)
    assert settings is not None
    return Delivery(to, settings, spans_a_request=3)


def until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.002)


def test_they_are_made_on_another_thread_and_a_batch_is_no_larger_than_it_may_be() -> None:
    made_by: set[int] = set()
    kept = Kept()

    def make() -> list[ReadableSpan]:
        made_by.add(threading.get_ident())
        return [ReadableSpan(name) for name in ("server", "call 0", "call 1")]

    sender = delivery(kept, max_batch=7)
    for _ in range(5):
        assert sender.admit(3)
        sender.send(3, make)
    sender.close()
    assert made_by
    assert threading.get_ident() not in made_by
    assert [span for batch in kept.batches for span in batch] == ["server", "call 0", "call 1"] * 5
    assert max(map(len, kept.batches)) <= 7
    assert (sender.delivered, sender.failed, sender.waiting) == (15, 0, 0)


def test_spans_that_cannot_be_made_are_failed_and_the_next_are_sent() -> None:
    kept = Kept()

    def crash() -> list[ReadableSpan]:
        raise RuntimeError("a bug")

    sender = delivery(kept, max_batch=3)
    sender.send(3, crash)
    until(lambda: sender.failed == 3)
    sender.send(1, lambda: [ReadableSpan("server")])
    sender.close()
    assert kept.batches == [["server"]]
    assert (sender.delivered, sender.failed, sender.waiting) == (1, 3, 0)
