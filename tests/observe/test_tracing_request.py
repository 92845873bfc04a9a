"""One request's place in a trace: its ids, and what its calls send along."""

from __future__ import annotations

from typing import Any

import pytest

from fanout.observe.trace_context import TraceContext, read_context
from fanout.observe.tracing_request import MAX_TEXT, RequestTrace, UnsampledTrace, begin
from fanout.observe.tracing_sampler import read_sampler
from fanout.upstream.messages import PreparedRequest, request_bytes

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


def begun(*headers: tuple[bytes, bytes], path: str = "/api/first") -> RequestTrace:
    """Of a request that is sampled."""
    trace = begin(scope(*headers, path=path), dict(headers), EVERY)
    assert isinstance(trace, RequestTrace)
    return trace


def test_every_call_is_a_child_with_an_id_of_its_own() -> None:
    trace = begun((b"traceparent", PARENT), (b"tracestate", b"a=1"))
    sent = [read_context(trace.headers(call)) for call in (0, 1)]
    own = trace.own
    assert sent == [TraceContext(own.trace_id, trace.calls[call], own.flags, "a=1") for call in (0, 1)]
    assert len({own.span_id, *trace.calls.values()}) == 3
    assert trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_what_is_not_sampled_keeps_no_request_and_has_no_trace_id_to_show() -> None:
    """Its id would lead nowhere: there is no such trace to be found."""
    headers = [(b"traceparent", PARENT), (b"tracestate", b"a=1")]
    trace = begin(scope(*headers), dict(headers), NONE)
    assert isinstance(trace, UnsampledTrace)
    assert trace.trace_id is None
    sent = [dict(trace.headers(call)) for call in (0, 1)]
    assert [(parent[b"traceparent"][:36], parent[b"tracestate"]) for parent in sent] == [
        (PARENT[:36], b"a=1")
    ] * 2
    (own,) = {parent[b"traceparent"][36:52] for parent in sent}
    assert own not in (PARENT[36:52], b"0" * 16)
    assert all(parent[b"traceparent"].endswith(b"-00") for parent in sent)


def test_new_traces_have_ids_of_their_own() -> None:
    assert len({begun().own.trace_id for _ in range(1000)}) == 1000


def test_what_a_caller_can_put_into_a_span_is_bounded() -> None:
    trace = begun((b"host", b"h" * 5000), path="/" + "p" * 5000)
    assert len(trace.request.path) == len(trace.request.route) == len(trace.request.host or "") == MAX_TEXT


@pytest.mark.parametrize("state", ["", "a=1,b=2"])
async def test_the_headers_are_in_the_request_and_in_its_bytes(state: str) -> None:
    """The bytes are put together from prepared ones, and are those of a request that is made in full."""
    trace = begun((b"traceparent", PARENT), (b"tracestate", state.encode()))
    own = {"Accept": "application/json"}
    headers = trace.headers(0)
    request = PreparedRequest("http://upstream/api/work", own).again({}, headers)
    in_full = PreparedRequest(
        "http://upstream/api/work", {**own, **{name.decode(): value.decode() for name, value in headers}}
    )
    assert request.headers == in_full.headers
    assert request.outgoing == await request_bytes(in_full)


async def test_a_request_that_is_made_again_can_be_made_again() -> None:
    """Its bytes and its headers say the same, however often something was added."""
    own = {"Accept": "application/json"}
    first = PreparedRequest("http://upstream/api/work", own).again({}, [(b"a", b"1")])
    second = first.again({"x": 1}, [(b"b", b"2")])
    third = second.again({}, [])
    in_full = PreparedRequest("http://upstream/api/work", {**own, "a": "1", "b": "2"})
    for request in (second, third):
        assert request.headers == in_full.headers
        assert request.outgoing == await request_bytes(in_full)
        assert (request.method, request.url, request.origin) == ("GET", in_full.url, in_full.origin)
    assert (first.extensions, second.extensions) == ({}, {"x": 1})
    assert "b" not in first.headers
