"""The way out of the process: OpenTelemetry's batching thread, and what is known of its success.

Rule 1: nothing waits for the collector. What cannot be delivered is dropped and counted.
Rule 2: a collector that fails is one log line, and one more when it works again, however long it takes.
Rule 3: spans are made by the thread that sends them, when it does: one request in a hundred would find none
        of that code in the processor's caches, and many in a row find all of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from loguru import logger
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from fanout.observe.tracing_settings import TracingSettings

EXPORTER_LOGGER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_SAMPLED: Final = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


class Delivery:
    """Takes requests' spans, on the loop's thread, and makes and sends them from its own."""

    def __init__(self, exporter: SpanExporter, settings: TracingSettings, spans_a_request: int) -> None:
        """spans_a_request: at most."""
        self._exporter = _Watched(exporter, settings.collector)
        self._max_waiting = settings.max_waiting
        self._handed = 0
        self.dropped = 0
        # It starts its thread at once: make a `Delivery` in the process that uses it.
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=settings.max_waiting,
            schedule_delay_millis=settings.delay_ms,
            max_export_batch_size=max(1, settings.max_batch // spans_a_request),
        )

    def admit(self, spans: int) -> bool:
        """Whether there is room for so many more. If not, they count as dropped: do not send them."""
        if self.waiting + spans > self._max_waiting:
            self.dropped += spans
            return False
        return True

    def send(self, spans: int, make: Callable[[], Sequence[ReadableSpan]]) -> None:
        """Deliver so many soon. Returns at once. There must be room. make: called on another thread."""
        self._handed += spans
        self._processor.on_end(_Unmade(spans, make))

    def close(self) -> None:
        """Deliver what waits, and end. Blocks as long as that takes: for a thread that can be given up."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def give_up(self) -> None:
        """Do not try again, and say nothing any more. Never blocks."""
        self._exporter.give_up()

    @property
    def waiting(self) -> int:
        """The queue is never longer than this: its thread takes spans from it before it counts them."""
        return self._handed - self.delivered - self.failed

    @property
    def delivered(self) -> int:
        return self._exporter.delivered

    @property
    def failed(self) -> int:
        return self._exporter.failed


class _Unmade(ReadableSpan):
    """The spans of one request, in the batching thread's queue in place of one span."""

    def __init__(self, count: int, make: Callable[[], Sequence[ReadableSpan]]) -> None:
        self.count = count
        self.make = make

    @property
    def context(self) -> SpanContext:
        """Sampled: that is all that the queue asks for."""
        return _SAMPLED


class _Watched(SpanExporter):
    """Makes the spans, and counts what becomes of them. Its thread is the batching one."""

    def __init__(self, exporter: SpanExporter, collector: str) -> None:
        self._exporter = exporter
        self._collector = collector
        self._is_failing = False
        self._has_given_up = False
        self._reasons = _Reasons()
        logging.getLogger(EXPORTER_LOGGER).addFilter(self._reasons)
        self.delivered = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        requests = [request for request in spans if isinstance(request, _Unmade)]
        count = sum(request.count for request in requests)
        self._reasons.first = None
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export([span for request in requests for span in request.make()])
        finally:  # whatever becomes of them, they do not wait any longer
            is_failing = result is not SpanExportResult.SUCCESS
            if is_failing:
                self.failed += count
            else:
                self.delivered += count
        if is_failing != self._is_failing and not self._has_given_up:
            self._is_failing = is_failing
            self._say()
        return result

    def give_up(self) -> None:
        self._has_given_up = True
        self._exporter.shutdown()

    def shutdown(self) -> None:
        self._exporter.shutdown()
        logging.getLogger(EXPORTER_LOGGER).removeFilter(self._reasons)

    def _say(self) -> None:
        if self._is_failing:
            logger.warning(
                "traces do not reach the collector at {}: {}. Spans are dropped and counted until they do",
                self._collector,
                self._reasons.first,
            )
        else:
            logger.info("traces reach the collector at {} again", self._collector)


class _Reasons(logging.Filter):
    """Keeps the exporter's own log lines, several a batch, from the log. The first of a batch tells why."""

    first: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self.first is None:
            # An exception's text can hold the URL with all that is secret in it; its name says enough.
            args = record.args if isinstance(record.args, tuple) else ()
            self.first = record.msg % tuple(
                type(arg).__name__ if isinstance(arg, BaseException) else arg for arg in args
            )
        return False
