"""What becomes of the spans on their way out of the process.

Rule 1: nothing waits for the collector. What does not fit into the queue, or cannot be delivered, is dropped
        and counted.
Rule 2: a collector that fails is one log line, and one more when it works again, however long it takes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from loguru import logger
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from fanout.observe.tracing_settings import TracingSettings

EXPORTER_LOGGER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class Delivery(SpanExporter):
    """An exporter that counts: spans before they get into the batch processor's queue, on the loop's thread,
    and what becomes of them, on the processor's."""

    def __init__(self, exporter: SpanExporter, settings: TracingSettings) -> None:
        self._exporter = exporter
        self._collector = settings.collector
        self._max_waiting = settings.max_waiting
        self._is_failing = False
        self._has_given_up = False
        self._reasons = _Reasons()
        logging.getLogger(EXPORTER_LOGGER).addFilter(self._reasons)
        self._admitted = self.delivered = self.failed = self.dropped = 0

    @property
    def waiting(self) -> int:
        """The queue is never longer than this: its thread takes spans from it before they are counted."""
        return self._admitted - self.delivered - self.failed

    def admit(self, spans: int) -> bool:
        """Whether there is room for so many more. If not, they count as dropped: do not make them."""
        if self.waiting + spans > self._max_waiting:
            self.dropped += spans
            return False
        self._admitted += spans
        return True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._reasons.first = None
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:  # whatever becomes of them, they do not wait any longer
            is_failing = result is not SpanExportResult.SUCCESS
            if is_failing:
                self.failed += len(spans)
            else:
                self.delivered += len(spans)
        if is_failing != self._is_failing and not self._has_given_up:
            self._is_failing = is_failing
            self._say()
        return result

    def give_up(self) -> None:
        """Do not try again, and say nothing any more. Never blocks."""
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
    """Keeps the exporter's own log lines, several a batch, from the log. The first of a batch says why."""

    first: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self.first is None:
            # An exception's text can hold the URL with all that is secret in it; its name says enough.
            args = record.args if isinstance(record.args, tuple) else ()
            self.first = record.msg % tuple(
                type(arg).__name__ if isinstance(arg, BaseException) else arg for arg in args
            )
        return False
