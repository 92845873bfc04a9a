"""Traces: OpenTelemetry spans of every sampled request, sent over OTLP. Imported only when they are on.

A request that arrives gets its place in a trace (`begin`). After its answer, in a batch with others, its
spans are made from its receipt by OpenTelemetry's tracer (`consume`), and its batch processor sends them from
a thread of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import trio
from loguru import logger
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

import fanout
from fanout.observe.receipt import Receipt
from fanout.observe.tracing_attributes import client_attributes, server_attributes, upstream_attributes
from fanout.observe.tracing_context import NO_PARENT, RequestTrace, UnsampledTrace, begin
from fanout.observe.tracing_delivery import Delivery
from fanout.observe.tracing_settings import TracingSettings, TracingStatistics

FLUSH_WITHIN_S: Final = 0.75  # with what else an exit takes, below the second that a drain may (G9)
_LIMITS: Final = SpanLimits()  # raises `ValueError` for a wrong variable, as the SDK does when it is imported


def sampler_of(settings: TracingSettings) -> Sampler:
    root = TraceIdRatioBased(settings.ratio)
    return ParentBased(root) if settings.follows_client else root


class Tracing:
    """The tracer of one process. It has a thread, so make it where it is used, after any fork.

    collector: the URL to which spans are sent directly; `None` when a proxy is in between.
    """

    def __init__(
        self, settings: TracingSettings, upstreams: Sequence[str], exporter: SpanExporter | None = None
    ) -> None:
        """upstreams: the URL of each call, with nothing secret in it. exporter: OTLP's by default.

        Raises `RuntimeError` when no thread can be started.
        """
        self._sampler = sampler_of(settings)
        self.collector = None if _has_proxy(settings.collector) else settings.collector
        self._upstreams = [upstream_attributes(url) for url in upstreams]
        self._delivery = Delivery(exporter or OTLPSpanExporter(), settings)
        self._ids = _DrawnIds()
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # it sees only requests that are sampled
            resource=_resource(),
            shutdown_on_exit=False,
            id_generator=self._ids,
            span_limits=_LIMITS,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._delivery,
                max_queue_size=settings.max_waiting,
                schedule_delay_millis=settings.delay_ms,
                max_export_batch_size=settings.max_batch,
            )
        )
        self._tracer = self._provider.get_tracer("fanout", fanout.__version__)
        self._sampled = 0

    def begin(self, scope: Mapping[str, Any], fields: Mapping[bytes, bytes]) -> RequestTrace | UnsampledTrace:
        """The trace of a request that has just arrived. scope: ASGI's. fields: its headers."""
        return begin(scope, fields, self._sampler)

    def consume(self, receipt: Receipt) -> None:
        """Send the spans of a request that has ended. Never blocks."""
        trace = receipt.trace
        if isinstance(trace, RequestTrace):
            self._sampled += 1
            if self._delivery.admit(1 + sum(call.started_at is not None for call in receipt.calls)):
                self._make_spans(receipt, trace)

    def _make_spans(self, receipt: Receipt, trace: RequestTrace) -> None:
        unix_ns = time.time_ns() - int(trio.current_time() * 1_000_000_000)  # Unix time of Trio's clock at 0

        def ns(at: float) -> int:
            return int(at * 1_000_000_000) + unix_ns

        self._ids.trace_id, self._ids.span_id = trace.own
        attributes, is_error = server_attributes(receipt, trace.attributes)
        name = f"{attributes['http.request.method']} {attributes.get('http.route', '')}".rstrip()
        server = self._tracer.start_span(
            name, trace.parent, SpanKind.SERVER, attributes, start_time=ns(receipt.arrived_at)
        )
        if is_error:
            server.set_status(StatusCode.ERROR)
        context = set_span_in_context(server, NO_PARENT)
        for call in receipt.calls:
            if call.started_at is None:
                continue
            self._ids.span_id = trace.calls[call.call]
            attributes, is_error = client_attributes(call)
            client = self._tracer.start_span(
                "GET",
                context,
                SpanKind.CLIENT,
                self._upstreams[call.call] | attributes,
                start_time=ns(call.started_at),
            )
            for phase, at in call.phases:
                client.add_event(f"fanout.phase.{phase}", timestamp=ns(at))
            if is_error:
                client.set_status(StatusCode.ERROR)
            client.end(ns(call.started_at if call.ended_at is None else call.ended_at))
        server.end(ns(receipt.ended_at))

    async def close(self) -> None:
        """Send the rest, for at most `FLUSH_WITHIN_S`. Nothing may be consumed after this."""
        why = None
        with trio.move_on_after(FLUSH_WITHIN_S):  # noqa: ASYNC912 - the thread is one
            try:
                await trio.to_thread.run_sync(self._provider.shutdown, abandon_on_cancel=True)
                return
            except RuntimeError as error:  # `can't start new thread`
                why = str(error)
        await trio.lowlevel.checkpoint()
        not_sent = self._delivery.give_up()
        if why is None:
            failing_for = self._delivery.failing_for
            why = (
                "the collector was too slow"
                if failing_for is None
                else f"the collector fails ({failing_for})"
            )
        logger.warning("{}: {} spans were not sent", why, not_sent)

    def collector_fails(self, why: str) -> None:
        """Report it before any span is to be sent."""
        self._delivery.is_failing(why)

    def statistics(self) -> TracingStatistics:
        spans = self._delivery
        return TracingStatistics(self._sampled, spans.delivered, spans.waiting, spans.dropped, spans.failed)


class _DrawnIds(IdGenerator):
    """Gives the tracer the ids that were drawn when the request arrived."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id

    def is_trace_id_random(self) -> bool:
        return True


def _has_proxy(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in getproxies() and not proxy_bypass(parts.netloc)


def _resource() -> Resource:
    """Who sends these spans: ours are defaults, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win."""
    said = Resource.create()
    resource = Resource({"service.version": fanout.__version__}).merge(said)
    if str(said.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "fanout"}))
    return resource
