"""A real OTLP receiver on loopback, in threads: it decodes what OpenTelemetry's exporter sends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

WITHIN_S = 20  # generous: what is waited for is about to happen


@dataclass(frozen=True, slots=True)
class Span:
    """One received span, with its ids as hexadecimal digits and its times in nanoseconds of Unix time.

    parent: empty for a root. events: name and time, in order.
    """

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    status: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    events: dict[str, int]
    resource: dict[str, Any]


class Collector:
    """`spans`: all that were taken. `batches`: how often it was asked to. `status`: what it answers.

    It takes nothing while it is stalled, and nothing when its `status` is not 200.
    """

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.batches = 0
        self.status = 200
        self.headers: list[dict[str, str]] = []  # of every batch taken
        self._changed = threading.Condition()
        self._flowing = threading.Event()
        self._flowing.set()

    def stall(self) -> None:
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until it holds; looked at after every batch. Raises `AssertionError` when it takes too long."""
        with self._changed:
            assert self._changed.wait_for(condition, WITHIN_S), [span.name for span in self.spans]

    def wait_for_requests(self, count: int) -> list[Span]:
        """The server spans, once so many have come."""
        self.wait_for(lambda: len(self.servers()) >= count)
        return self.servers()

    def servers(self) -> list[Span]:
        return [span for span in self.spans if span.kind == "SERVER"]

    def children(self, parent: Span) -> list[Span]:
        """In call order."""
        children = [s for s in self.spans if s.trace == parent.trace and s.parent == parent.id]
        return sorted(children, key=lambda span: int(span.attributes["fanout.call.index"]))

    def receive(self, headers: dict[str, str], body: bytes) -> int:
        """Take a batch, or stall. Returns the status of the answer."""
        with self._changed:
            self.batches += 1
            self._changed.notify_all()
        self._flowing.wait(WITHIN_S)
        with self._changed:
            if self.status == 200:
                self.headers.append(headers)
                self.spans += _decode(body)
            self._changed.notify_all()
        return self.status


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(ConnectionError):  # a server that ends leaves its connections
                super().handle()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces", self.path
            status = collector.receive(dict(self.headers), body)
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        collector.flow()
        server.shutdown()
        thread.join()
        server.server_close()


def _decode(body: bytes) -> Iterator[Span]:
    for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _attributes(of_resource.resource.attributes)
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Span(
                    name=span.name,
                    kind=WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    state=span.trace_state,
                    status=type(span.status).StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
                    started_ns=span.start_time_unix_nano,
                    ended_ns=span.end_time_unix_nano,
                    attributes=_attributes(span.attributes),
                    events={event.name: event.time_unix_nano for event in span.events},
                    resource=resource,
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    return getattr(pair.value, str(pair.value.WhichOneof("value")))
