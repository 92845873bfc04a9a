"""A request's place in a trace: what of a client's headers is read, what is ignored, what the calls send."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import get_current_span

from fanout.observe.tracing_attributes import MAX_TEXT
from fanout.observe.tracing_context import RequestTrace, UnsampledTrace, begin
from fanout.upstream.messages import PreparedGet, request_bytes

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"

Headers = list[tuple[bytes, bytes]]


def headers(parent: str, *states: str) -> Headers:
    return [(b"traceparent", parent.encode()), *((b"tracestate", state.encode()) for state in states)]


def scope(sent: Headers, path: str = "/api/first") -> dict[str, Any]:
    return {
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "scheme": "http",
        "http_version": "1.1",
        "headers": sent,
    }


def begun(sent: Headers, path: str = "/api/first") -> RequestTrace:
    """The trace of a request that is sampled."""
    trace = begin(scope(sent, path), dict(sent), ALWAYS_ON)
    assert isinstance(trace, RequestTrace)
    return trace


def is_continued(sent: Headers) -> bool:
    trace = begun(sent)
    span = get_current_span(trace.parent).get_span_context()
    assert span.is_valid is (trace.trace_id == TRACE)
    assert not span.is_valid or f"{span.span_id:016x}" == SPAN
    return span.is_valid


def parents(trace: RequestTrace | UnsampledTrace, calls: int = 2) -> list[list[str]]:
    """The parts of the `traceparent` of each call."""
    return [dict(trace.headers(call))[b"traceparent"].decode().split("-") for call in range(calls)]


def test_a_traceparent_is_read() -> None:
    assert is_continued(headers(GOOD))


@pytest.mark.parametrize(
    ("flags", "sent"), [("00", "01"), ("01", "01"), ("02", "03"), ("03", "03"), ("ff", "03")]
)
def test_only_the_known_flags_are_passed_on(flags: str, sent: str) -> None:
    """And that of a sampled request says so, whatever its client did."""
    trace = begun(headers(f"00-{TRACE}-{SPAN}-{flags}"))
    assert {parent[3] for parent in parents(trace)} == {sent}


@pytest.mark.parametrize("parent", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be"])
def test_a_later_version_is_read_as_far_as_it_is_known(parent: str) -> None:
    assert is_continued(headers(parent))


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "garbage",
        "x" * 1000,
        GOOD.upper(),
        GOOD + "-",
        GOOD + "-01",
        GOOD + "x",
        f"{GOOD},{GOOD}",
        GOOD[:-1],
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}-{SPAN}-01\x00",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
    ],
)
def test_garbage_begins_a_new_trace_without_a_state(parent: str) -> None:
    assert not is_continued(headers(parent, "a=b"))
    assert begun(headers(parent, "a=b")).state == ""


def test_two_parents_are_none() -> None:
    assert not is_continued([*headers(GOOD), *headers(GOOD)])


def test_no_parent_is_none_whatever_the_state_says() -> None:
    assert not is_continued([(b"tracestate", b"a=b"), (b"host", b"here")])


@pytest.mark.parametrize(
    ("states", "read"),
    [
        (["congo=t61rcWkgMzE"], "congo=t61rcWkgMzE"),
        (["a=1,b=2"], "a=1,b=2"),
        (["a=1", "b=2"], "a=1,b=2"),
        ([" a=1 ,\tb=2 "], "a=1,b=2"),
        (["a=1,,b=2,"], "a=1,b=2"),
        (["0tenant@vendor=x"], "0tenant@vendor=x"),
        ([], ""),
        ([""], ""),
        (["a"], ""),
        (["a=1,b"], ""),
        (["A=1"], ""),
        (["a=1=2"], ""),
        (["a=1,a=2"], "a=1"),
        (["a=1", "b=1,a=2"], "a=1,b=1"),
        (["a=1" + "," * 600], "a=1"),
        (["a=\u00e9"], ""),
        (["=1"], ""),
        (["a="], ""),
        ([",".join(f"k{n}=v" for n in range(32))], ",".join(f"k{n}=v" for n in range(32))),
        ([",".join(f"k{n}=v" for n in range(33))], ""),
    ],
)
def test_a_state_is_passed_on_if_it_is_valid_and_dropped_if_not(
    states: list[str], read: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two members with one key the first is kept, as the standard allows. Nothing is logged."""
    with caplog.at_level(logging.WARNING):
        trace = begun(headers(GOOD, *states))
    assert trace.state == read
    assert trace.trace_id == TRACE
    sent = {dict(trace.headers(call)).get(b"tracestate", b"") for call in (0, 1)}
    assert sent == {read.encode()}
    assert not caplog.records


def test_a_span_has_the_state_too() -> None:
    span = get_current_span(begun(headers(GOOD, "a=1,b=2")).parent).get_span_context()
    assert span.trace_state == {"a": "1", "b": "2"}


def test_a_long_state_loses_its_oldest_members() -> None:
    """As much as the standard asks for is passed on to every call; a client cannot make it more."""
    members = [f"k{n}={'v' * 100}" for n in range(10)]
    state = begun(headers(GOOD, ",".join(members))).state
    assert state == ",".join(members[:4])
    assert len(state) <= 512


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"traceparent", b"tracestate", b"x"]),
            st.one_of(st.binary(max_size=80), st.just(GOOD.encode())),
        )
    )
)
def test_whatever_bytes_a_client_sends_its_calls_send_a_context(sent: Headers) -> None:
    trace = begun(sent)
    parent, _ = parents(trace)
    assert [len(part) for part in parent] == [2, 32, 16, 2]
    assert int(parent[1], 16)
    assert int(parent[2], 16)


def test_every_call_is_a_child_with_an_id_of_its_own() -> None:
    trace = begun(headers(GOOD, "a=1"))
    first, second = parents(trace)
    assert [int(parent[2], 16) for parent in (first, second)] == [trace.calls[0], trace.calls[1]]
    assert len({trace.own[1], *trace.calls.values()}) == 3
    assert first[1] == second[1] == TRACE


def test_what_is_not_sampled_keeps_no_request_and_has_no_trace_id_to_show() -> None:
    """Its id would lead nowhere: there is no such trace to be found."""
    sent = headers(GOOD, "a=1")
    trace = begin(scope(sent), dict(sent), ALWAYS_OFF)
    assert isinstance(trace, UnsampledTrace)
    assert trace.trace_id is None
    first, second = parents(trace)
    assert first == second
    assert (first[:2], first[3]) == (["00", TRACE], "00")
    assert first[2] not in (SPAN, "0" * 16)
    assert dict(trace.headers(0))[b"tracestate"] == b"a=1"


def test_new_traces_have_ids_of_their_own() -> None:
    assert len({begun([]).trace_id for _ in range(1000)}) == 1000


def test_what_a_client_can_put_into_a_span_is_bounded() -> None:
    attributes = begun([(b"host", b"h" * 5000)], path="/" + "p" * 5000).attributes
    texts = [str(attributes[name]) for name in ("url.path", "http.route", "server.address")]
    assert [len(text) for text in texts] == [MAX_TEXT] * 3


@pytest.mark.parametrize("state", ["", "a=1,b=2"])
async def test_the_headers_are_in_the_request_and_in_its_bytes(state: str) -> None:
    """The bytes are put together from prepared ones, and are those of a request that is made in full."""
    trace = begun(headers(GOOD, state))
    own = {"Accept": "application/json"}
    sent = trace.headers(0)
    all_headers = {**own, **{name.decode(): value.decode() for name, value in sent}}
    in_full = httpx.Request("GET", "http://upstream/api/work", headers=all_headers)
    assert PreparedGet("http://upstream/api/work", own).bytes_with(sent) == await request_bytes(in_full)


@pytest.mark.parametrize(("length", "is_whole"), [(511, True), (512, True), (513, False)])
def test_a_state_is_passed_on_whole_up_to_the_limit(length: int, is_whole: bool) -> None:
    """The standard's 512 characters; beyond them whole members are left out."""
    members = [f"k{number}={'v' * 100}" for number in range(4)]
    members.append("last=" + "w" * (length - len(",".join(members)) - len(",last=")))
    state = ",".join(members)
    assert len(state) == length
    assert begun(headers(GOOD, state)).state == (state if is_whole else ",".join(members[:-1]))
