"""What is known of the tracing of one process, whether or not OpenTelemetry is installed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TracingStatistics:
    """Counts since the start. requests_sampled: those that have spans.

    Of these spans: delivered to the collector; waiting to be; dropped, because too many were waiting; failed,
    because the collector did not take them.
    """

    requests_sampled: int
    spans_delivered: int
    spans_waiting: int
    spans_dropped: int
    spans_failed: int
