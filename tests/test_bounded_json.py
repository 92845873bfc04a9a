"""JSON from outside: what nests deeper than the bound is not JSON to us, on any Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fanout import bounded_json
from fanout.bounded_json import MAX_DEPTH
from fanout.upstream.call import MAX_PAYLOAD_DEPTH, is_valid_payload

# Strings of what the bound must not mistake for structure.
TEXT = st.text(st.sampled_from('[]{}"\\,: aé\N{GRINNING FACE}\n'), max_size=6)
VALUES = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=40,
)
DUMPS: list[Callable[[Any], str]] = [
    json.dumps,
    lambda value: json.dumps(value, ensure_ascii=False),
    lambda value: json.dumps(value, indent=1),
]


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def depth_read(text: str) -> int:
    """How deep a parser is, at most, that reads this text from left to right. Character by character."""
    depth = deepest = 0
    is_in_string = is_escaped = False
    for character in text:
        if is_escaped:
            is_escaped = False
        elif is_in_string:
            is_escaped = character == "\\"
            is_in_string = character != '"'
        elif character == '"':
            is_in_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


@given(VALUES, st.sampled_from(DUMPS))
def test_the_bound_is_exact(value: object, dumps: Callable[[Any], str]) -> None:
    text, depth = dumps(value), depth_of(value)
    assert bounded_json.loads(text.encode(), depth) == value
    if depth > 0:
        with pytest.raises(ValueError, match=f"more than {depth - 1} arrays and objects"):
            bounded_json.loads(text.encode(), depth - 1)


@given(st.text(st.sampled_from('[[[]]{"":}\\, 1'), max_size=60), st.integers(0, 4))
@example('[[[["', 2)
@example('["\\"[[[", [[[1', 2)
@example("\\\\\\[[[[", 2)
def test_no_text_makes_the_parser_go_deeper(text: str, max_depth: int) -> None:
    """Also what is not JSON: the parser stops at the first mistake, and up to there it must not be deeper."""
    parsed: list[str] = []
    with suppress(ValueError):
        bounded_json.loads(text.encode(), max_depth, parsed.append)
    try:
        json.loads(text)
        read, is_json = text, True
    except json.JSONDecodeError as error:
        read, is_json = text[: error.pos], False
    if parsed:
        assert depth_read(read) <= max_depth
    elif is_json:
        assert depth_read(read) > max_depth


def nested(depth: int, inner: bytes = b"1") -> bytes:
    """Arrays and objects in turns."""
    pairs = [(b"[", b"]"), (b'{"]": ', b"}")]
    for level in range(depth):
        before, behind = pairs[level % 2]
        inner = before + inner + behind
    return inner


def test_the_bound_of_an_answer_leaves_room_for_the_array_of_all() -> None:
    """Every client can read every answer, `fanout load` among them."""
    payload = b'{"time": 1, "x": ' + nested(MAX_PAYLOAD_DEPTH - 1) + b"}"
    deeper = b'{"time": 1, "x": ' + nested(MAX_PAYLOAD_DEPTH) + b"}"
    assert is_valid_payload(payload)
    assert not is_valid_payload(deeper)
    answer = bounded_json.loads(b"[" + payload + b"," + payload + b"]")
    assert answer == [json.loads(payload)] * 2
    assert depth_of(answer) == MAX_DEPTH
    with pytest.raises(ValueError, match="more than 64"):
        bounded_json.loads(b"[" + payload + b"," + deeper + b"]")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 65_536,
        b"[" * 32_768 + b"]" * 32_768,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 70 + b'"',
    ],
    ids=["open", "arrays", "objects", "in a string"],
)
def test_what_is_far_too_deep_never_reaches_the_parser(body: bytes) -> None:
    read: list[str] = []
    with pytest.raises(ValueError, match="more than 64"):
        bounded_json.loads(body, parse=read.append)
    assert read == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"\xef\xbb\xbf1", "1".encode("utf-16"), b'"' * 65_537, b"]" * 100]
)
def test_what_is_not_json_in_utf_8_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|codec|Extra data|BOM"):
        bounded_json.loads(body)
