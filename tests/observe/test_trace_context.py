"""W3C Trace Context: what is read, what is ignored, what is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import TraceState

from fanout.observe.trace_context import TraceContext, read_context, state_members, traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"

Headers = list[tuple[bytes, bytes]]


def headers(parent: str, *states: str) -> Headers:
    return [(b"traceparent", parent.encode()), *((b"tracestate", state.encode()) for state in states)]


def test_a_traceparent_is_read() -> None:
    assert read_context(headers(GOOD)) == TraceContext(int(TRACE, 16), int(SPAN, 16), 1)


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_only_the_known_flags_are_kept(flags: str, sampled: bool) -> None:
    context = read_context(headers(f"00-{TRACE}-{SPAN}-{flags}"))
    assert context is not None
    assert context.sampled is sampled
    assert context.flags == int(flags, 16) & 3


@pytest.mark.parametrize("parent", [f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be"])
def test_a_later_version_is_read_as_far_as_it_is_known(parent: str) -> None:
    assert read_context(headers(parent)) == read_context(headers(GOOD))


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "garbage",
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
def test_garbage_is_as_if_nothing_had_been_sent(parent: str) -> None:
    assert read_context(headers(parent, "a=b")) is None


def test_two_parents_are_none() -> None:
    assert read_context([*headers(GOOD), *headers(GOOD)]) is None


def test_no_parent_is_none_whatever_the_state_says() -> None:
    assert read_context([(b"tracestate", b"a=b"), (b"host", b"here")]) is None


@pytest.mark.parametrize(
    ("states", "read"),
    [
        (["congo=t61rcWkgMzE"], "congo=t61rcWkgMzE"),
        (["a=1,b=2"], "a=1,b=2"),
        (["a=1", "b=2"], "a=1,b=2"),
        ([" a=1 ,\tb=2 "], "a=1,b=2"),
        (["a=1,,b=2,"], "a=1,b=2"),
        (["0tenant@vendor=x"], "0tenant@vendor=x"),
        ([""], ""),
        (["a"], ""),
        (["a=1,b"], ""),
        (["A=1"], ""),
        (["a=1=2"], ""),
        (["a=1,a=2"], ""),
        (["a=\u00e9"], ""),
        (["=1"], ""),
        (["a="], ""),
        ([",".join(f"k{n}=v" for n in range(32))], ",".join(f"k{n}=v" for n in range(32))),
        ([",".join(f"k{n}=v" for n in range(33))], ""),
    ],
)
def test_a_state_is_passed_on_if_it_is_valid_and_dropped_if_not(states: list[str], read: str) -> None:
    context = read_context(headers(GOOD, *states))
    assert context is not None
    assert context.state == read


def test_a_long_state_loses_its_oldest_members() -> None:
    """As much as the standard asks for is passed on to every call; a caller cannot make it more."""
    members = [f"k{n}={'v' * 100}" for n in range(10)]
    context = read_context(headers(GOOD, ",".join(members)))
    assert context is not None
    assert context.state == ",".join(members[:4])
    assert len(context.state) <= 512


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 3))
def test_what_is_written_is_read_again(trace_id: int, span_id: int, flags: int) -> None:
    written = traceparent(trace_id, span_id, flags).decode()
    assert len(written) == 55
    assert read_context(headers(written)) == TraceContext(trace_id, span_id, flags)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"traceparent", b"tracestate", b"x"]),
            st.one_of(st.binary(max_size=80), st.just(GOOD.encode())),
        )
    )
)
def test_no_bytes_raise_and_every_state_is_one_that_opentelemetry_takes(sent: Headers) -> None:
    """Callers may send anything: it is no error, and OpenTelemetry does not warn about it either."""
    context = read_context(sent)
    if context is not None:
        members = state_members(context.state)
        assert list(TraceState(members).items()) == members
