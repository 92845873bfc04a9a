"""One request's place in a trace, from its arrival to its spans: W3C Trace Context.

It is read by OpenTelemetry's propagator. Its own writing takes five times as long as one line here.

Rule 1: every id is drawn before it is sent anywhere, so a span that is made after the answer is the one whose
        id the upstreams received.
Rule 2: a request that is not sampled still passes the trace on, and does nothing else. Its calls all name the
        request as their parent, for they have no spans of their own.
Rule 3: what is not exactly right in a client's headers is as if it had not been sent. It is neither an error
        nor a log line.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import TraceFlags, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fanout.observe.tracing_attributes import Attributes, request_attributes
from fanout.race.timings import Headers

MAX_STATE_CHARACTERS: Final = 512  # the standard's: as much should be passed on; more may be cut
NO_PARENT: Final = Context()
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_IDS: Final = RandomIdGenerator()

logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)  # Rule 3: it warns of a wrong `tracestate`


class UnsampledTrace:
    """What `fanout.race.timings.Trace` asks for, of a request without spans."""

    __slots__ = ("_headers",)
    trace_id: ClassVar[None] = None

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def headers(self, call: int) -> Headers:
        return self._headers


@dataclass(slots=True, eq=False)
class RequestTrace:
    """What `fanout.race.timings.Trace` asks for, and what the spans are made from.

    parent: the span that it continues, if any. own: trace id and span id of the server span. flags, state: as
    the upstreams receive them. attributes: what the server span says of the request itself.
    calls: the ids of the client spans, by call, of those that asked for their headers.
    """

    parent: Context
    own: tuple[int, int]
    flags: int
    state: str
    attributes: Attributes
    calls: dict[int, int] = field(default_factory=dict)

    @property
    def trace_id(self) -> str:
        return format_trace_id(self.own[0])

    def headers(self, call: int) -> Headers:
        """A new span id for this call. To be asked for once a call."""
        self.calls[call] = span_id = _IDS.generate_span_id()
        return _headers(self.own[0], span_id, self.flags, self.state)


def begin(
    scope: Mapping[str, Any], fields: Mapping[bytes, bytes], sampler: Sampler
) -> RequestTrace | UnsampledTrace:
    """Continue the client's trace or begin one. scope: ASGI's, of an HTTP request. fields: its headers."""
    parent, trace_id, flags, state = NO_PARENT, 0, TraceFlags.RANDOM_TRACE_ID, ""
    if b"traceparent" in fields:
        parent = _PROPAGATOR.extract(scope["headers"], NO_PARENT, _FIELDS)
        client = get_current_span(parent).get_span_context()
        if client.is_valid:
            trace_id, state = client.trace_id, client.trace_state.to_header()
            flags &= client.trace_flags
    trace_id, span_id = trace_id or _IDS.generate_trace_id(), _IDS.generate_span_id()
    if sampler.should_sample(parent, trace_id, "").decision is not Decision.RECORD_AND_SAMPLE:
        return UnsampledTrace(_headers(trace_id, span_id, flags, state))
    own, attributes = (trace_id, span_id), request_attributes(scope)
    return RequestTrace(parent, own, flags | TraceFlags.SAMPLED, state, attributes)


class _Fields(Getter[list[tuple[bytes, bytes]]]):
    """ASGI's headers, for OpenTelemetry's propagator."""

    def get(self, carrier: list[tuple[bytes, bytes]], key: str) -> list[str] | None:
        """Two of `traceparent` are none. Of `tracestate`, whole members up to the limit, and of two members
        with one key the first, as the standard allows."""
        values = [value.decode("latin-1") for name, value in carrier if name == key.encode()]
        if key == "traceparent":
            return values if len(values) == 1 else None
        state = ",".join(values)
        if len(state) > MAX_STATE_CHARACTERS:
            state = state[: MAX_STATE_CHARACTERS + 1].rpartition(",")[0]
        members: dict[str, str] = {}
        for member in state.split(","):
            members.setdefault(member.partition("=")[0].strip(" \t"), member)
        return list(members.values())

    def keys(self, carrier: list[tuple[bytes, bytes]]) -> list[str]:
        return [name.decode("latin-1") for name, _ in carrier]


def _headers(trace_id: int, span_id: int, flags: int, state: str) -> Headers:
    parent = (b"traceparent", b"00-%032x-%016x-%02x" % (trace_id, span_id, flags))
    return (parent, (b"tracestate", state.encode("ascii"))) if state else (parent,)


_FIELDS: Final = _Fields()
