"""Traces: OpenTelemetry spans of every sampled request, sent over OTLP. Imported only when they are on.

The decision is taken at arrival (`begin`), the receipt is handed over after the answer (`consume`), and the
spans are made from it when they are sent; in between there is nothing but two headers a call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import trio
from loguru import logger
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

import fanout
from fanout.observe import tracing_request
from fanout.observe.receipt import Receipt
from fanout.observe.tracing_delivery import Delivery
from fanout.observe.tracing_request import RequestTrace, UnsampledTrace
from fanout.observe.tracing_settings import TracingSettings, TracingStatistics
from fanout.observe.tracing_spans import Attributes, Spans, server_attributes

FLUSH_WITHIN_S: Final = 0.75  # with what else an exit takes, below the second that a drain may (G9)


class Tracing:
    """The tracer of one process. It has a thread, so make it where it is used, after any fork."""

    def __init__(self, settings: TracingSettings, upstreams: Sequence[str]) -> None:
        """upstreams: the URL of each call, with nothing secret in it."""
        self._sampler = settings.sampler
        self._delivery = Delivery(OTLPSpanExporter(), settings, spans_a_request=1 + len(upstreams))
        scope = InstrumentationScope("fanout", fanout.__version__)
        self._spans = Spans(_resource(), scope, [_upstream(url) for url in upstreams])
        self._sampled = 0

    def begin(self, scope: Mapping[str, Any], fields: Mapping[bytes, bytes]) -> RequestTrace | UnsampledTrace:
        """The trace of a request that has just arrived. scope: ASGI's. fields: its headers."""
        return tracing_request.begin(scope, fields, self._sampler)

    def consume(self, receipt: Receipt) -> None:
        """Send the spans of a request that has ended. Never blocks."""
        trace = receipt.trace
        if not isinstance(trace, RequestTrace):
            return
        self._sampled += 1
        spans = 1 + sum(call.started_at is not None for call in receipt.calls)
        if self._delivery.admit(spans):
            unix_ns = time.time_ns() - int(trio.current_time() * 1_000_000_000)
            make = partial(self._spans.of, receipt, trace, unix_ns=unix_ns)
            self._delivery.send(spans, make)

    async def close(self) -> None:
        """Send what is left, for at most `FLUSH_WITHIN_S`. Nothing may be consumed after this."""
        why = "the collector was too slow"
        with trio.move_on_after(FLUSH_WITHIN_S):  # noqa: ASYNC912 - the thread is one
            try:
                await trio.to_thread.run_sync(self._delivery.close, abandon_on_cancel=True)
                return
            except RuntimeError as error:  # `can't start new thread`
                why = str(error)
        await trio.lowlevel.checkpoint()
        self._delivery.give_up()
        logger.warning("{}: {} spans were not sent", why, self.statistics().spans_waiting)

    def statistics(self) -> TracingStatistics:
        spans = self._delivery
        return TracingStatistics(self._sampled, spans.delivered, spans.waiting, spans.dropped, spans.failed)


def _resource() -> Resource:
    """Who sends these spans: ours are defaults, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win."""
    said = Resource.create()
    resource = Resource({"service.version": fanout.__version__}).merge(said)
    if str(said.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "fanout"}))
    return resource


def _upstream(url: str) -> Attributes:
    parts = urlsplit(url)
    return {
        "http.request.method": "GET",
        "url.full": url,
        "network.protocol.version": "1.1",
        "server.port": 443 if parts.scheme == "https" else 80,
        **server_attributes(parts.netloc.rpartition("@")[2]),
    }
