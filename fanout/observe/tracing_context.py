"""One request's place in a trace, from its arrival to its spans: W3C Trace Context.

OpenTelemetry's propagator reads `traceparent`. Its own writing takes five times as long as one line here.
`tracestate` is read here, by level 2 of the standard. OpenTelemetry knows the keys of level 1; a state with
any other key is sent to the upstreams, and missing in the spans.

Rule 1: every id is drawn before it is sent anywhere, so a span that is made after the answer is the one whose
        id the upstreams received.
Rule 2: a request that is not sampled still passes the trace on, and does nothing else. Its calls all name the
        request as their parent, for they have no spans of their own.
Rule 3: what is not exactly right in a client's headers is as if it had not been sent. It is neither an error
        nor a log line.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import TraceFlags, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fanout.observe.tracing_attributes import Attributes, request_attributes
from fanout.race.timings import Headers

MAX_STATE_CHARACTERS: Final = 512  # the standard's: as much should be passed on; more may be cut
_MAX_MEMBERS: Final = 32  # the standard's; with more of them it is not valid
_LONG_MEMBER: Final = 128  # the standard's: longer ones are cut first
_MEMBER: Final = re.compile(
    r"([a-z0-9][a-z0-9_\-*/@]{0,255}+)=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
NO_PARENT: Final = Context()
_PROPAGATOR: Final = TraceContextTextMapPropagator()
_IDS: Final = RandomIdGenerator()

logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)  # it warns of a state that it does not know


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
        sent = scope["headers"]
        parents = [value.decode("latin-1") for name, value in sent if name == b"traceparent"]
        read = _state_of(sent) if b"tracestate" in fields else ""
        if len(parents) == 1:  # two are none
            parent = _PROPAGATOR.extract({"traceparent": parents[0], "tracestate": read}, NO_PARENT)
        client = get_current_span(parent).get_span_context()
        if client.is_valid:
            trace_id, state = client.trace_id, read
            flags &= client.trace_flags
    trace_id, span_id = trace_id or _IDS.generate_trace_id(), _IDS.generate_span_id()
    if sampler.should_sample(parent, trace_id, "").decision is not Decision.RECORD_AND_SAMPLE:
        return UnsampledTrace(_headers(trace_id, span_id, flags, state))
    own, attributes = (trace_id, span_id), request_attributes(scope)
    return RequestTrace(parent, own, flags | TraceFlags.SAMPLED, state, attributes)


def _state_of(fields: list[tuple[bytes, bytes]]) -> str:
    """The client's `tracestate` if it is valid, else nothing.

    Of members with one key the first stays, which is the newest. Whole members are cut until it is short
    enough, the long ones first.
    """
    values = [value.decode("latin-1") for name, value in fields if name == b"tracestate"]
    members: dict[str, str] = {}
    for part in ",".join(values).split(","):
        member = part.strip(" \t")
        if member:
            match = _MEMBER.fullmatch(member)
            if match is None:
                return ""
            members.setdefault(match[1], member)
    if len(members) > _MAX_MEMBERS:
        return ""
    kept = list(members.values())
    excess = sum(map(len, kept)) + len(kept) - 1 - MAX_STATE_CHARACTERS
    if excess <= 0:
        return ",".join(kept)
    by_need = sorted(range(len(kept)), key=lambda at: (len(kept[at]) <= _LONG_MEMBER, -at))
    for at in by_need:
        if excess <= 0:
            break
        excess -= len(kept[at]) + 1
        kept[at] = ""
    return ",".join(filter(None, kept))


def _headers(trace_id: int, span_id: int, flags: int, state: str) -> Headers:
    parent = (b"traceparent", b"00-%032x-%016x-%02x" % (trace_id, span_id, flags))
    return (parent, (b"tracestate", state.encode("ascii"))) if state else (parent,)
