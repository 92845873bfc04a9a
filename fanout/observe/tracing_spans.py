"""From a receipt to its spans: one server span, and one client span for each call that was started.

The names are those of OpenTelemetry's stable conventions for HTTP; what those do not know begins with
`fanout.`. Of what a caller sends, the method, the path, Host and the request id get into a span.

Rule 1: losing a race is no error. A call that was cancelled because another one had won, or because the
        caller left, has status UNSET and no `error.type`, and says who cancelled it, why, and how long it
        took to be gone. One that the deadline stopped has `error.type` `timeout`.
Rule 2: spans are values, made after the answer. The SDK's own tracer is left out: it draws the ids itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from fanout.observe.receipt import CallReceipt, Receipt
from fanout.observe.trace_context import TraceContext, state_members
from fanout.observe.tracing_request import Request, RequestTrace

Attributes = dict[str, str | bool | int | float]

TIMEOUT: Final = "timeout"
_UNSET: Final = Status(StatusCode.UNSET)
_ERROR: Final = Status(StatusCode.ERROR)
_METHODS: Final = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
)
_OUTCOMES_OK: Final = ("won", "ok")


class Spans:
    """Makes the spans of one service."""

    def __init__(
        self, resource: Resource, scope: InstrumentationScope, upstreams: Sequence[Attributes]
    ) -> None:
        """upstreams: what is the same for every span of a call, by call."""
        self._resource = resource
        self._scope = scope
        self._upstreams = upstreams

    def of(self, receipt: Receipt, trace: RequestTrace, *, unix_ns: int) -> list[ReadableSpan]:
        """The server span first. unix_ns: Unix time of Trio's clock at 0."""
        state = TraceState(state_members(trace.own.state)) if trace.own.state else None
        own = _context(trace.own, state)
        status, attributes = _server(receipt, trace.request)
        server = self._span(
            name=f"{attributes['http.request.method']} {attributes.get('http.route', '')}".rstrip(),
            kind=SpanKind.SERVER,
            context=own,
            parent=None if trace.caller is None else _context(trace.caller, state, is_remote=True),
            status=status,
            attributes=attributes,
            between=(receipt.arrived_at, receipt.ended_at),
            unix_ns=unix_ns,
        )
        return [
            server,
            *(self._call(call, trace, own, unix_ns) for call in receipt.calls if call.started_at is not None),
        ]

    def _call(
        self, call: CallReceipt, trace: RequestTrace, parent: SpanContext, unix_ns: int
    ) -> ReadableSpan:
        assert call.started_at is not None
        status, attributes = _client(call)
        ended_at = call.started_at if call.ended_at is None else call.ended_at
        return self._span(
            name="GET",
            kind=SpanKind.CLIENT,
            context=_context(trace.own, parent.trace_state, span_id=trace.calls[call.call]),
            parent=parent,
            status=status,
            attributes=self._upstreams[call.call] | attributes,
            between=(call.started_at, ended_at),
            unix_ns=unix_ns,
            events=[Event(f"fanout.phase.{name}", None, _ns(at, unix_ns)) for name, at in call.phases],
        )

    def _span(
        self,
        *,
        name: str,
        kind: SpanKind,
        context: SpanContext,
        parent: SpanContext | None,
        status: Status,
        attributes: Attributes,
        between: tuple[float, float],
        unix_ns: int,
        events: Sequence[Event] = (),
    ) -> ReadableSpan:
        return ReadableSpan(
            name=name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            events=events,
            kind=kind,
            status=status,
            start_time=_ns(between[0], unix_ns),
            end_time=_ns(between[1], unix_ns),
            instrumentation_scope=self._scope,
        )


def _server(receipt: Receipt, request: Request) -> tuple[Status, Attributes]:
    attributes: Attributes = {
        "url.path": request.path,
        "url.scheme": request.scheme,
        "network.protocol.version": request.http_version,
        "fanout.request_id": receipt.request_id,
        "fanout.reason": receipt.reason,
        "fanout.used_ms": receipt.used_ms,
        "fanout.late_by_ms": receipt.late_by_ms,
    }
    if request.method in _METHODS:
        attributes["http.request.method"] = request.method
    else:
        attributes["http.request.method"] = "_OTHER"
        attributes["http.request.method_original"] = request.method
    if request.host is not None:
        attributes |= server_attributes(request.host)
    if receipt.timeout_ms is not None and receipt.reserve_ms is not None:  # a race was run
        attributes["http.route"] = request.route
        attributes["fanout.timeout_ms"] = receipt.timeout_ms
        attributes["fanout.reserve_ms"] = receipt.reserve_ms
    if receipt.status is None:
        return _UNSET, attributes
    attributes["http.response.status_code"] = receipt.status
    if receipt.status < 500:
        return _UNSET, attributes
    attributes["error.type"] = TIMEOUT if receipt.reason == "deadline" else receipt.reason
    return _ERROR, attributes


def _client(call: CallReceipt) -> tuple[Status, Attributes]:
    attributes: Attributes = {"fanout.call.index": call.call, "fanout.call.outcome": call.outcome}
    if call.reused is not None:
        attributes["fanout.connection.reused"] = call.reused
    if call.kept is not None:
        attributes["fanout.connection.kept"] = call.kept
    if call.outcome in _OUTCOMES_OK:
        attributes["http.response.status_code"] = 200  # nothing else is a success
        return _UNSET, attributes
    if call.status is not None:
        attributes["http.response.status_code"] = call.status
    if call.outcome == "cancelled":
        return _cancelled(call, attributes)
    if call.error == "bad_status" and call.status is not None:
        attributes["error.type"] = str(call.status)
    else:
        attributes["error.type"] = call.error or call.outcome
    return _ERROR, attributes


def _cancelled(call: CallReceipt, attributes: Attributes) -> tuple[Status, Attributes]:
    if call.cancel_source is not None:
        attributes["fanout.cancel.source"] = call.cancel_source
    if call.cancel_reason is not None:
        attributes["fanout.cancel.reason"] = call.cancel_reason
    if call.cancel_to_exit_ms is not None:
        attributes["fanout.cancel.to_exit_ms"] = call.cancel_to_exit_ms
    if call.cancel_source != "deadline":
        return _UNSET, attributes
    attributes["error.type"] = TIMEOUT
    return _ERROR, attributes


def server_attributes(host: str) -> Attributes:
    """`server.address` and, if it is named, `server.port`, from `HOST[:PORT]`. Any text will do."""
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdecimal() and len(port) <= 5:
        return {"server.address": name.strip("[]"), "server.port": int(port)}
    return {"server.address": host.strip("[]")}


def _context(
    of: TraceContext, state: TraceState | None, *, span_id: int | None = None, is_remote: bool = False
) -> SpanContext:
    """span_id: of another span of the same trace."""
    return SpanContext(of.trace_id, span_id or of.span_id, is_remote, TraceFlags(of.flags), state)


def _ns(at: float, unix_ns: int) -> int:
    return int(at * 1_000_000_000) + unix_ns
