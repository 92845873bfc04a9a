"""Every fault, byte by byte, as a raw client sees it over real sockets."""

from __future__ import annotations

import gzip
import zlib
from typing import Literal

import pytest
import trio

from fanout.tools.simulator.connection_faults import CONNECTION_FAULTS, ConnectionFault
from fanout.tools.simulator.fault import Fault
from fanout.tools.simulator.faults import FAULTS, describe_faults
from fanout.tools.simulator.player import MAX_FLOOD_BYTES
from tests.tools.simulator.wire_client import Served, Tls, ended, serving

FIELDS = b"Content-Type: application/json\r\nX-Call-Id: 1\r\n"
BODY = b'{"time": 7}'


def head(*fields: bytes, status: bytes = b"200 OK", version: bytes = b"1.1") -> bytes:
    return b"HTTP/%b %b\r\n" % (version, status) + FIELDS + b"".join(f + b"\r\n" for f in fields) + b"\r\n"


def framed(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    return head(*fields, b"Content-Length: %d" % len(body), status=status) + body


RIGHT = framed(BODY)
HALF_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: applicat"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"

# What follows the bytes. `alive`: nothing, and the connection answers the next request. `silent`: nothing.
Then = Literal["alive", "silent", "fin", "cut", "rst"]

EXPECTED: dict[str, tuple[bytes, Then]] = {
    "chunked": (
        head(CHUNKED) + b'1\r\n{\r\na;note=1\r\n"time": 7}\r\n0\r\nX-Trailer: 1\r\n\r\n',
        "alive",
    ),
    "gzip": (framed(gzip.compress(BODY, mtime=0), b"Content-Encoding: gzip"), "alive"),
    "deflate": (framed(zlib.compress(BODY), b"Content-Encoding: deflate"), "alive"),
    "drip": (RIGHT, "alive"),
    "extra_members": (
        framed(
            '{"time": 7, "note": "é", "large": 10000000000000000000000000000000000000000,'
            ' "nested": {"list": [1, null, true]}}'.encode()
        ),
        "alive",
    ),
    "http10": (head(version=b"1.0") + BODY, "fin"),
    "until_close": (head() + BODY, "fin"),
    "connection_close": (framed(BODY, b"Connection: close"), "fin"),
    "informational": (b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS + RIGHT, "alive"),
    "trailing_bytes": (RIGHT + b"\r\n<!-- not HTTP -->\r\n", "alive"),
    "two_answers": (RIGHT + framed(b'{"time": 987654321}'), "alive"),
    "late_408": (
        RIGHT + b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "fin",
    ),
    "close_idle": (RIGHT, "fin"),
    "rst_idle": (RIGHT, "rst"),
    "close_at_once": (RIGHT, "fin"),
    "cut_after_answer": (RIGHT, "cut"),
    "redirect": (framed(b"", b"Location: /api/work?fault=none", status=b"302 Found"), "alive"),
    "no_content": (head(status=b"204 No Content"), "alive"),
    "switching_protocols": (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nX-Call-Id: 1\r\n\r\n",
        "alive",
    ),
    "not_json": (framed(b"<html><body>It works!</body></html>"), "alive"),
    "truncated_json": (framed(b'{"time": 7'), "alive"),
    "empty": (framed(b""), "alive"),
    "bad_utf8": (framed(b'{"time": 7, "note": "\xff"}'), "alive"),
    "utf16": (framed(BODY.decode().encode("utf-16")), "alive"),
    "array": (framed(b"[]"), "alive"),
    "deep_json": (framed(b'{"time": 7, "deep": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"), "alive"),
    "duplicate_names": (framed(b'{"time": 1, "time": 2}'), "alive"),
    "time_missing": (framed(b'{"tim": 1}'), "alive"),
    "time_string": (framed(b'{"time": "1"}'), "alive"),
    "time_bool": (framed(b'{"time": true}'), "alive"),
    "time_null": (framed(b'{"time": null}'), "alive"),
    "time_negative": (framed(b'{"time": -1}'), "alive"),
    "time_float": (framed(b'{"time": 1.5}'), "alive"),
    "time_nan": (framed(b'{"time": NaN}'), "alive"),
    "time_digits": (framed(b'{"time": ' + b"9" * 5_000 + b"}"), "alive"),
    "huge_body": (framed(b'{"time": 7, "padding": "' + b"x" * (256 * 1024 - 26) + b'"}'), "alive"),
    "gzip_bomb": (
        framed(gzip.compress(b'{"time": 1}'.ljust(16 * 1024 * 1024), mtime=0), b"Content-Encoding: gzip"),
        "alive",
    ),
    "bad_gzip": (framed(BODY, b"Content-Encoding: gzip"), "alive"),
    "garbage": (b"\x00\xff\xfe SSH-2.0-what\r\n\r\n{]}\r\n\r\n", "alive"),
    "bad_status_line": (framed(BODY, status=b"2x0 OK"), "alive"),
    "bad_header": (framed(BODY, b": nameless"), "alive"),
    "huge_head": (
        framed(BODY, *(b"X-Padding-%d: " % n + b"x" * 1000 for n in range(524))),
        "alive",
    ),
    "length_too_long": (head(b"Content-Length: 111") + BODY, "fin"),
    "length_too_short": (head(b"Content-Length: 8") + BODY, "alive"),
    "bad_length": (head(b"Content-Length: twelve") + BODY, "alive"),
    "conflicting_lengths": (head(b"Content-Length: 11", b"Content-Length: 12") + BODY, "alive"),
    "bad_chunk": (head(CHUNKED) + b"zz\r\n" + BODY, "alive"),
    "unended_chunks": (head(CHUNKED) + b"b\r\n" + BODY + b"\r\n", "fin"),
    "hang_before_head": (b"", "silent"),
    "hang_mid_head": (HALF_HEAD, "silent"),
    "hang_mid_body": (RIGHT[:-4], "silent"),
    "rst_before_head": (b"", "rst"),
    "rst_mid_head": (HALF_HEAD, "rst"),
    "rst_mid_body": (RIGHT[:-4], "rst"),
    "fin_before_head": (b"", "fin"),
    "fin_mid_head": (HALF_HEAD, "fin"),
    "fin_mid_body": (RIGHT[:-4], "fin"),
    "cut_mid_body": (RIGHT[:-4], "cut"),
}

STATUSES: dict[int, bytes] = {
    201: framed(BODY, status=b"201 Created"),
    205: framed(b"", status=b"205 Reset Content"),
    304: head(status=b"304 Not Modified"),
    404: framed(BODY, status=b"404 Not Found"),
    503: framed(BODY, status=b"503 Service Unavailable"),
    599: framed(BODY, status=b"599 Unnamed"),
}

# What is sent once, and what then comes again and again.
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "huge_chunked": (head(CHUNKED), b"4000\r\n" + b" " * 0x4000 + b"\r\n"),
    "endless_head": (b"HTTP/1.1 200 OK\r\n", b"X-Padding: " + b"x" * 1000 + b"\r\n"),
    "endless_informational": (b"", HINTS),
}


@pytest.fixture(params=["plain", "tls"])
def how_tls(request: pytest.FixtureRequest, tls: Tls) -> Tls | None:
    return tls if request.param == "tls" else None


def test_every_fault_has_an_expectation_here() -> None:
    assert {*EXPECTED, *FLOODS, "status"} == set(FAULTS)


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_fault_sends_its_bytes_and_then_does_what_it_says(name: str, how_tls: Tls | None) -> None:
    data, then = EXPECTED[name]
    async with serving(tls=how_tls) as served:
        await _expect(served, f"fault={name}&drip_ms=20", data, then)


@pytest.mark.parametrize("status", STATUSES)
async def test_any_status_can_be_asked_for(status: int) -> None:
    async with serving() as served:
        await _expect(served, f"status={status}", STATUSES[status], "alive")
        assert (await ended(served.simulator, 1)).status == status


async def _expect(served: Served, query: str, data: bytes, then: Then) -> None:
    async with served.connected() as client:
        await client.get(f"/api/work?delay_ms=7&{query}")
        if then == "alive":
            assert await client.exactly(len(data)) == data
            await client.get("/healthz")
            assert await client.answer() == (200, b'{"status": "ok"}')
        elif then == "silent":
            assert await client.exactly(len(data)) == data
            assert await client.to_silence(0.03) == (b"", "silent")
        elif then == "cut" and served.tls is None:
            assert await client.to_end() == (data, "fin")
        else:
            assert await client.to_end() == (data, then)


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_goes_on(name: str) -> None:
    first, again = FLOODS[name]
    async with serving() as served, served.connected() as client:
        await client.get(f"/api/work?fault={name}")
        assert await client.exactly(len(first)) == first
        assert await client.exactly(len(again) * 100) == again * 100


async def test_a_flood_that_is_read_to_its_end_falls_silent() -> None:
    """A client without limits must not keep a machine busy for ever."""
    first, again = FLOODS["huge_chunked"]
    async with serving() as served, served.connected() as client:
        await client.get("/api/work?fault=huge_chunked")
        await client.exactly(len(first))
        for _ in range(MAX_FLOOD_BYTES // len(again)):
            await client.exactly(len(again))
        assert await client.to_silence(0.02) == (b"", "silent")


async def test_drip_takes_the_time_it_was_given() -> None:
    async with serving() as served, served.connected() as client:
        started = trio.current_time()
        await client.get("/api/work?fault=drip&delay_ms=7&drip_ms=150")
        assert await client.exactly(len(RIGHT)) == RIGHT
        assert trio.current_time() - started >= 0.157
        record = await ended(served.simulator, 1)
        assert record.answered_ms is not None
        assert record.answered_ms >= 157


async def test_the_tag_comes_back_in_the_answer() -> None:
    async with serving() as served, served.connected() as client:
        await client.get("/api/work?delay_ms=7&tag=a%22b")
        assert await client.answer() == (200, b'{"time": 7, "tag": "a\\"b"}')


async def test_a_client_that_asks_for_it_gets_the_connection_closed() -> None:
    async with serving() as served:
        async with served.connected() as client:
            await client.send(b"GET /x/api/work?delay_ms=7 HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert await client.to_end() == (framed(BODY, b"Connection: close"), "fin")
        async with served.connected() as client:
            await client.send(b"GET /api/work?delay_ms=7 HTTP/1.0\r\n\r\n")
            data, end = await client.to_end()
            assert (data.endswith(BODY), end) == (True, "fin")


@pytest.mark.parametrize("faults", [FAULTS, CONNECTION_FAULTS])
def test_the_help_has_every_fault_with_its_verdict_and_its_whole_summary(
    faults: dict[str, Fault] | dict[str, ConnectionFault],
) -> None:
    """`fanout upstream --help` shows this table."""
    lines = describe_faults(faults).splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(faults)
    text = " ".join(" ".join(lines).split())
    for fault in faults.values():
        assert f"{fault.name} {fault.verdict} {fault.summary}" in text
        assert fault.summary.endswith(".")
