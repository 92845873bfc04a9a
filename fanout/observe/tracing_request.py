"""One request's place in a trace, from its arrival to its spans.

Rule 1: every id is drawn before it is sent anywhere, so a span made after the answer is the one that the
        upstreams were told of.
Rule 2: a request that is not sampled still passes the trace on, and that is all it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import getrandbits
from typing import Any, Final

from fanout.observe.trace_context import RANDOM, SAMPLED, TraceContext, read_context, traceparent
from fanout.observe.tracing_sampler import Sampler
from fanout.race.marks import Headers

MAX_TEXT: Final = 1024  # characters of what a caller sent, in a span


@dataclass(frozen=True, slots=True)
class Request:
    """What a span says of the request itself. Texts are the caller's, cut to 1024 characters.

    path: as it was sent. route: as it was routed, percent-decoded: one of ours if it led to a race.
    host: as the caller named this server, if it did.
    """

    method: str
    path: str
    route: str
    scheme: str
    http_version: str
    host: str | None


@dataclass(slots=True, eq=False)  # frozen would take three times as long, and every request has one
class RequestTrace:
    """What `fanout.race.marks.Trace` asks for, and what the spans are made from.

    own: the server span. caller: the span that it continues. request: `None` unless it is sampled.
    calls: the ids of the client spans, by call, of those that have asked for their headers.
    """

    own: TraceContext
    caller: TraceContext | None
    request: Request | None
    calls: dict[int, int] = field(default_factory=dict)

    @property
    def trace_id(self) -> str | None:
        return f"{self.own.trace_id:032x}" if self.own.sampled else None

    def headers(self, call: int) -> Headers:
        """A new span id for this call. To be asked for once a call."""
        own = self.own
        self.calls[call] = span_id = _draw(64)
        parent = ("traceparent", traceparent(own.trace_id, span_id, own.flags))
        return (parent, ("tracestate", own.state)) if own.state else (parent,)


def begin(scope: Mapping[str, Any], sampler: Sampler) -> RequestTrace:
    """Continue the caller's trace or begin one. scope: ASGI's, of an HTTP request."""
    caller = read_context(scope["headers"])
    if caller is None:
        trace_id, flags, state = _draw(128), RANDOM, ""
    else:
        trace_id, flags, state = caller.trace_id, caller.flags & RANDOM, caller.state
    if not sampler.samples(trace_id, caller):
        return RequestTrace(TraceContext(trace_id, _draw(64), flags, state), caller, None)
    return RequestTrace(TraceContext(trace_id, _draw(64), flags | SAMPLED, state), caller, _request(scope))


def _draw(bits: int) -> int:
    """A random id. Never 0, which is no id."""
    return getrandbits(bits) or _draw(bits)


def _request(scope: Mapping[str, Any]) -> Request:
    host = next((value for name, value in scope["headers"] if name == b"host"), None)
    return Request(
        method=scope["method"],
        path=scope["raw_path"].partition(b"?")[0].decode("latin-1")[:MAX_TEXT],
        route=scope["path"][:MAX_TEXT],
        scheme=scope["scheme"],
        http_version=scope["http_version"],
        host=None if host is None else host.decode("latin-1")[:MAX_TEXT],
    )
