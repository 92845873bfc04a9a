"""What becomes of the spans on their way out of the process.

Rule 1: nothing waits for the collector. What does not fit into the queue, or cannot be delivered, is dropped
        and counted.
Rule 2: a collector that fails is one log line, at the first try that fails, and one more when it works again,
        however long it takes.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Sequence
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
        self._has_given_up = False
        self._reasons = _Reasons(self.is_failing)
        logging.getLogger(EXPORTER_LOGGER).addFilter(self._reasons)
        self.failing_for: str | None = None  # why the collector does not take spans; `None`: it does
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
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:  # whatever becomes of them, they do not wait any longer
            if result is SpanExportResult.SUCCESS:
                self.delivered += len(spans)
            else:
                self.failed += len(spans)
        if result is not SpanExportResult.SUCCESS:
            self.is_failing("it did not take them")
        elif self.failing_for is not None and not self._has_given_up:
            self.failing_for = None
            logger.info("traces reach the collector at {} again", self._collector)
        return result

    def is_failing(self, why: str) -> None:
        """Log it, unless that was done. From any thread."""
        if self.failing_for is None and not self._has_given_up:
            self.failing_for = why
            logger.warning(
                "traces do not reach the collector at {}: {}. Spans are dropped and counted until they do",
                self._collector,
                why,
            )

    def give_up(self) -> int:
        """Do not try again, and say nothing any more. Never blocks. Return how many spans are given up."""
        given_up = self.waiting  # before the exporter ends: then its thread counts them as failed
        self._has_given_up = True
        self._exporter.shutdown()
        return given_up

    def shutdown(self) -> None:
        self._exporter.shutdown()
        logging.getLogger(EXPORTER_LOGGER).removeFilter(self._reasons)


class _Reasons(logging.Filter):
    """Keeps the exporter's own log lines, several a batch, from the log, and reports what each says.

    The exporter logs a try that fails at once, and returns seconds later, when it has tried again.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        super().__init__()
        self._report = report

    def filter(self, record: logging.LogRecord) -> bool:
        errors = [arg for arg in record.args or () if isinstance(arg, BaseException)]
        self._report(_in_words(errors[0]) if errors else record.getMessage())
        return False


def _in_words(error: BaseException) -> str:
    """OpenSSL's or the system's words for it, or the name of its type. Its text can hold the URL, with
    what is secret."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):  # an `OSError`, with a number that is not the system's
            is_untrusted = isinstance(cause, ssl.SSLCertVerificationError)
            words: str = getattr(cause, "verify_message" if is_untrusted else "reason", "")
            return words.replace("_", " ").lower().removesuffix(".") or type(error).__name__
        if isinstance(cause, OSError) and isinstance(cause.errno, int):
            return os.strerror(cause.errno).lower()
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
