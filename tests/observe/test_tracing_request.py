"""One request's place in a trace: its ids, and what its calls send along."""

from __future__ import annotations

from typing import Any

import pytest

from fanout.observe.trace_context import TraceContext, read_context
from fanout.observe.tracing_request import MAX_TEXT, begin
from fanout.observe.tracing_sampler import read_sampler
from fanout.upstream.request import PreparedRequest, request_bytes

EVERY = read_sampler("always_on", "")
NONE = read_sampler("always_off", "")
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def scope(*headers: tuple[bytes, bytes], path: str = "/api/first") -> dict[str, Any]:
    return {
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "scheme": "http",
        "http_version": "1.1",
        "headers": list(headers),
    }


def test_every_call_is_a_child_with_an_id_of_its_own() -> None:
    trace = begin(scope((b"traceparent", PARENT), (b"tracestate", b"a=1")), EVERY)
    sent = [
        read_context([(name.encode(), value.encode()) for name, value in trace.headers(call)])
        for call in (0, 1)
    ]
    own = trace.own
    assert sent == [TraceContext(own.trace_id, trace.calls[call], own.flags, "a=1") for call in (0, 1)]
    assert len({own.span_id, *trace.calls.values()}) == 3
    assert trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_what_is_not_sampled_keeps_no_request_and_has_no_trace_id_to_show() -> None:
    """Its id would lead nowhere: there is no such trace to be found."""
    trace = begin(scope((b"traceparent", PARENT)), NONE)
    assert trace.request is None
    assert trace.trace_id is None
    assert dict(trace.headers(0))["traceparent"].endswith("-00")


def test_new_traces_have_ids_of_their_own() -> None:
    assert len({begin(scope(), EVERY).own.trace_id for _ in range(1000)}) == 1000


def test_what_a_caller_can_put_into_a_span_is_bounded() -> None:
    trace = begin(scope((b"host", b"h" * 5000), path="/" + "p" * 5000), EVERY)
    assert trace.request is not None
    assert len(trace.request.path) == len(trace.request.route) == len(trace.request.host or "") == MAX_TEXT


@pytest.mark.parametrize("state", ["", "a=1,b=2"])
async def test_the_headers_are_in_the_request_and_in_its_bytes(state: str) -> None:
    """The bytes are put together from prepared ones, and are those of a request that is made in full."""
    trace = begin(scope((b"traceparent", PARENT), (b"tracestate", state.encode())), EVERY)
    own = {"Accept": "application/json"}
    headers = trace.headers(0)
    request = PreparedRequest("http://upstream/api/work", own).again({}, headers)
    in_full = PreparedRequest("http://upstream/api/work", {**own, **dict(headers)})
    assert request.headers == in_full.headers
    assert await request_bytes(request) == await request_bytes(in_full)
