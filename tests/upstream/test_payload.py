"""What counts as a success (DESIGN.md §2), value by value."""

from __future__ import annotations

import pytest

from fanout.upstream.payload import is_valid_payload

GOOD = [
    b'{"time": 160}',
    b'{"time":0}',
    b'{"time": 123456789012345678}\n',
    b' \r\n\t{"time": 1} ',
    b'{"time": 123456789012345678901234567890}',
    b'{"time": 1, "more": {"time": "x"}, "list": [1.5, null, true]}',
    '{"time": 1, "é": "\N{GRINNING FACE}"}'.encode(),
]
BAD = {
    "empty": b"",
    "a leading zero": b'{"time": 01}',
    "something behind it": b'{"time": 1}\n\nx',
    "no JSON": b"<html>",
    "truncated": b'{"time": 16',
    "two values": b'{"time": 1}{"time": 2}',
    "a list": b"[]",
    "a number": b"160",
    "null": b"null",
    "no time": b"{}",
    "string": b'{"time": "1"}',
    "bool": b'{"time": true}',
    "null time": b'{"time": null}',
    "float": b'{"time": 160.0}',
    "exponent": b'{"time": 1e2}',
    "negative": b'{"time": -1}',
    "a name twice": b'{"time": 1, "time": 2}',
    "a name twice, deeper": b'{"time": 1, "a": {"b": 1, "b": 2}}',
    "NaN": b'{"time": 1, "x": NaN}',
    "Infinity": b'{"time": 1, "x": -Infinity}',
    "single quotes": b"{'time': 1}",
    "trailing comma": b'{"time": 1,}',
    "not UTF-8": b'{"time": 1, "x": "\xff"}',
    "UTF-16": '{"time": 1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"time": 1}',
    "digits without end": b'{"time": ' + b"9" * 5000 + b"}",
    "deep": b'{"time": 1, "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
}


@pytest.mark.parametrize("body", GOOD)
def test_a_json_object_with_a_non_negative_integer_time_is_a_success(body: bytes) -> None:
    assert is_valid_payload(body)


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_anything_else_is_not(body: bytes) -> None:
    assert not is_valid_payload(body)
