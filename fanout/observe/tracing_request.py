"""One request's place in a trace, from its arrival to its spans.

Rule 1: every id is drawn before it is sent anywhere, so a span made after the answer is the one that the
        upstreams were told of.
Rule 2: a request that is not sampled still passes the trace on, and that is all it does: its calls all name
        the request as their parent, for they have no spans of their own. Most are not sampled, so this is
        done with as little as it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import getrandbits
from typing import Any, ClassVar, Final

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


class UnsampledTrace:
    """What `fanout.race.marks.Trace` asks for, of a request without spans."""

    __slots__ = ("_headers",)
    trace_id: ClassVar[None] = None

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def headers(self, call: int) -> Headers:
        return self._headers


@dataclass(slots=True, eq=False)
class RequestTrace:
    """What `fanout.race.marks.Trace` asks for, and what the spans are made from.

    own: the server span. caller: the span that it continues.
    calls: the ids of the client spans, by call, of those that have asked for their headers.
    """

    own: TraceContext
    caller: TraceContext | None
    request: Request
    calls: dict[int, int] = field(default_factory=dict)

    @property
    def trace_id(self) -> str:
        return f"{self.own.trace_id:032x}"

    def headers(self, call: int) -> Headers:
        """A new span id for this call. To be asked for once a call."""
        own = self.own
        self.calls[call] = span_id = getrandbits(64) or 1
        return _headers(own.trace_id, span_id, own.flags, own.state)


def begin(
    scope: Mapping[str, Any], fields: Mapping[bytes, bytes], sampler: Sampler
) -> RequestTrace | UnsampledTrace:
    """Continue the caller's trace or begin one. scope: ASGI's, of an HTTP request. fields: its headers."""
    caller = read_context(scope["headers"]) if b"traceparent" in fields else None
    if caller is None:
        trace_id, flags, state = getrandbits(128) or 1, RANDOM, ""  # 0 is no id
    else:
        trace_id, flags, state = caller.trace_id, caller.flags & RANDOM, caller.state
    span_id = getrandbits(64) or 1
    if not sampler.samples(trace_id, caller):
        return UnsampledTrace(_headers(trace_id, span_id, flags, state))
    return RequestTrace(TraceContext(trace_id, span_id, flags | SAMPLED, state), caller, _request(scope))


def _headers(trace_id: int, span_id: int, flags: int, state: str) -> Headers:
    parent = (b"traceparent", traceparent(trace_id, span_id, flags))
    return (parent, (b"tracestate", state.encode("ascii"))) if state else (parent,)


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
