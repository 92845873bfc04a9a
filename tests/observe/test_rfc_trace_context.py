"""W3C Trace Context, level 2: the `tracestate` of a client, as the calls pass it on.

The cases are the rules of the recommendation (section 3.3) and what its own test suite expects.
"""

from __future__ import annotations

import logging

import pytest

from tests.observe.test_tracing_context import GOOD, TRACE, begun, headers

EVERY_KEY_CHARACTER = "abcdefghijklmnopqrstuvwxyz0123456789_-*/@"
EVERY_VALUE_CHARACTER = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")

PASSED_ON = {
    "one member": (["foo=1"], "foo=1"),
    "two members": (["foo=1,bar=2"], "foo=1,bar=2"),
    "members in several fields, in order": (
        ["foo=1,bar=2", "rojo=1,congo=2", "baz=3"],
        "foo=1,bar=2,rojo=1,congo=2,baz=3",
    ),
    "an empty field before another": (["", "foo=1"], "foo=1"),
    "an empty field behind another": (["foo=1", ""], "foo=1"),
    "empty members": ([",foo=1, ,bar=2,"], "foo=1,bar=2"),
    "more than 32 members, empty ones counted": (["foo=1" + "," * 40], "foo=1"),
    "one key twice": (["foo=1,foo=1"], "foo=1"),
    "one key twice with two values": (["foo=1,foo=2"], "foo=1"),
    "one key in two fields": (["foo=1", "foo=2"], "foo=1"),
    "the newest of one key": (["congo=2,rojo=1,congo=1"], "congo=2,rojo=1"),
    "every character of a key": ([EVERY_KEY_CHARACTER + "=1"], EVERY_KEY_CHARACTER + "=1"),
    "every character of a value": (["foo=" + EVERY_VALUE_CHARACTER], "foo=" + EVERY_VALUE_CHARACTER),
    "upper case at both ends of a value": (["foo=XyX"], "foo=XyX"),
    "a key that begins with a digit": (["0=1"], "0=1"),
    "an at sign at the end of a key": (["foo@=1,bar=2"], "foo@=1,bar=2"),
    "two at signs": (["foo@@bar=1,bar=2"], "foo@@bar=1,bar=2"),
    "two at signs apart": (["foo@bar@baz=1,bar=2"], "foo@bar@baz=1,bar=2"),
    "a key of 242 and an at sign": (["foo=1", "t" * 242 + "@v=1"], "foo=1," + "t" * 242 + "@v=1"),
    "a key of 241, an at sign and 14": (
        ["foo=1", "t" * 241 + "@" + "v" * 14 + "=1"],
        "foo=1," + "t" * 241 + "@" + "v" * 14 + "=1",
    ),
    "15 behind an at sign": (["foo=1", "t@" + "v" * 15 + "=1"], "foo=1,t@" + "v" * 15 + "=1"),
    "a key of 256": (["foo=1", "z" * 256 + "=1"], "foo=1," + "z" * 256 + "=1"),
    "a value of 256": (["foo=" + "v" * 256], "foo=" + "v" * 256),
    "whitespace around members": (["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
    "only tabs around members": (["\tfoo=1\t \t,\t \tbar=2\t"], "foo=1,bar=2"),
    "leading spaces of a value": (["foo=  1 ,bar= 2"], "foo=  1,bar= 2"),
    "32 members": (
        [",".join(f"bar{n:02}={n:02}" for n in range(16)), ",".join(f"bar{n}={n}" for n in range(16, 32))],
        ",".join(f"bar{n:02}={n:02}" for n in range(32)),
    ),
}
DROPPED = {
    "nothing": [""],
    "a space behind a key": ["foo =1"],
    "upper case": ["FOO=1"],
    "a dot": ["foo.bar=1"],
    "an at sign at the beginning": ["@foo=1,bar=2"],
    "an underscore at the beginning": ["_foo=1"],
    "a key of 257": ["foo=1", "z" * 257 + "=1"],
    "an empty key": ["=1"],
    "no value": ["foo="],
    "a value of spaces": ["foo=  "],
    "a value of 257": ["foo=" + "v" * 257],
    "an equals sign in a value": ["foo=bar=baz"],
    "no equals sign": ["foo=1,bar"],
    "a control character in a value": ["foo=\x01"],
    "a tab in a value": ["foo=a\tb"],
    "a control character behind a member": ["foo=1\x0b"],
    "DEL in a value": ["foo=\x7f"],
    "a value that is not ASCII": ["foo=\u00e9"],
    "33 members": [",".join(f"bar{n:02}={n:02}" for n in range(33))],
    "33 members in several fields": [",".join(f"bar{n:02}={n:02}" for n in range(32)), "foo=1"],
}


def passed_on(states: list[str], caplog: pytest.LogCaptureFixture) -> str:
    """What every call sends. Whatever it is, the trace is continued, and nothing is logged."""
    with caplog.at_level(logging.DEBUG):
        trace = begun(headers(GOOD, *states))
    assert trace.trace_id == TRACE
    assert not caplog.records
    sent = [[value for name, value in trace.headers(call) if name == b"tracestate"] for call in (0, 1)]
    assert sent == [[trace.state.encode()] if trace.state else []] * 2
    return trace.state


@pytest.mark.parametrize("name", PASSED_ON)
def test_a_valid_state_is_passed_on(name: str, caplog: pytest.LogCaptureFixture) -> None:
    states, expected = PASSED_ON[name]
    assert passed_on(states, caplog) == expected


@pytest.mark.parametrize("name", DROPPED)
def test_an_invalid_state_is_dropped_and_the_trace_goes_on(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """3.3: failure to parse tracestate MUST NOT affect the parsing of traceparent."""
    assert passed_on(DROPPED[name], caplog) == ""


def member(key: str, length: int) -> str:
    return key + "=" + "v" * (length - len(key) - 1)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ([member("a", 255), member("b", 256)], [0, 1]),  # with their comma 512
        ([member("a", 255), member("b", 257)], [0]),
        ([member("a", 255), member("b", 256), member("c", 129)], [0, 1]),  # 512 without the last one
        ([member("a", 128), member("b", 129), member("c", 128), member("d", 128)], [0, 2, 3]),
        ([member("a", 200), member("b", 100), member("c", 200), member("d", 100)], [0, 1, 3]),
        ([member("a", 250), member("b", 100), member("c", 250)], [0, 1]),
        ([member(f"k{n}", 128) for n in range(9)], [0, 1, 2]),
        ([member(f"k{n}", 40) for n in range(32)], list(range(12))),
    ],
)
def test_a_long_state_loses_whole_members_the_long_ones_first(
    sent: list[str], kept: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """3.3.1.5: entries larger than 128 characters SHOULD be removed first, then those at the end."""
    state = passed_on([",".join(sent)], caplog)
    assert state == ",".join(sent[n] for n in kept)
    assert len(state) <= 512
