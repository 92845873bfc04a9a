"""Requests out of bytes: in any pieces, in any number, never trusted."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout.tools.simulator.requests import MAX_BODY_BYTES, MAX_HEAD_BYTES, Refusal, Request, RequestParser
from tests.tools.simulator.wire_client import ended, serving

PIPELINE = (
    b"GET /api/work?tag=a HTTP/1.1\r\nHost: x\r\n\r\n"
    b"PUT /slots/a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
    b"PUT /slots/b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
    b"GET http://host:80/x/api/work?a?b HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"
)
MESSAGES = [
    Request("GET", "/api/work", "tag=a", b"", closing=False, fields={b"host": b"x"}),
    Request("PUT", "/slots/a", "", b"{}", closing=False, fields={b"content-length": b"2"}),
    Request("PUT", "/slots/b", "", b"{}", closing=False, fields={b"transfer-encoding": b"chunked"}),
    Request(
        *("GET", "/x/api/work", "a?b", b""),
        closing=False,
        fields={b"connection": b"Upgrade", b"upgrade": b"h2c"},
    ),
    Request("GET", "/last", "", b"", closing=True, fields={b"connection": b"close"}),
]


@settings(deadline=None)
@given(st.lists(st.integers(0, len(PIPELINE)), max_size=8))
def test_requests_are_read_whatever_pieces_they_come_in(cuts: list[int]) -> None:
    parser = RequestParser()
    edges = [0, *sorted(cuts), len(PIPELINE)]
    pieces = [PIPELINE[start:end] for start, end in itertools.pairwise(edges)]
    assert [message for piece in pieces for message in parser.feed(piece)] == MESSAGES


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(1, 300))
def test_no_bytes_can_raise(data: bytes, step: int) -> None:
    parser = RequestParser()
    messages = [m for start in range(0, len(data), step) for m in parser.feed(data[start : start + step])]
    refusals = [message for message in messages if isinstance(message, Refusal)]
    assert refusals == messages[len(messages) - len(refusals) :]
    assert len(refusals) <= 1


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0"]
)
async def test_garbage_is_told_so_and_closed(garbage: bytes) -> None:
    async with serving() as served, served.connected() as client:
        await client.send(garbage)
        data, end = await client.to_end()
        assert data.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"\r\nConnection: close\r\n" in data
        assert b"this is not HTTP/1.1" in data
        assert end == "fin"


async def test_garbage_behind_a_call_waits_for_its_answer() -> None:
    async with serving() as served, served.connected() as client:
        await client.send(b"GET /api/work?delay_ms=20 HTTP/1.1\r\n\r\n\x00garbage" + b"x" * 1000)
        assert await client.answer() == (200, b'{"time": 20}')
        assert (await client.answer())[0] == 400
        assert (await ended(served.simulator, 1)).end == "answered"


def test_a_head_is_bounded() -> None:
    parser = RequestParser()
    messages = parser.feed(b"GET / HTTP/1.1\r\n")
    for _ in range(MAX_HEAD_BYTES // 1000 + 1):
        messages += parser.feed(b"X-Long: " + b"x" * 992)
    assert [message.status for message in messages if isinstance(message, Refusal)] == [431]


def test_heads_are_bounded_one_by_one() -> None:
    parser = RequestParser()
    head = b"GET / HTTP/1.1\r\nX-Long: " + b"x" * (MAX_HEAD_BYTES // 2) + b"\r\n\r\n"
    assert [len(parser.feed(head)) for _ in range(5)] == [1] * 5


@pytest.mark.parametrize("framing", [b"Content-Length: 10000000", b"Transfer-Encoding: chunked"])
def test_a_body_is_bounded(framing: bytes) -> None:
    parser = RequestParser()
    messages = parser.feed(b"PUT / HTTP/1.1\r\n" + framing + b"\r\n\r\n")
    chunk = b"x" * 1000 if b"Length" in framing else b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    for _ in range(MAX_BODY_BYTES // 1000 + 1):
        messages += parser.feed(chunk)
    assert [message.status for message in messages if isinstance(message, Refusal)] == [413]
