"""HTTP/1.1 as RFC 9110 and RFC 9112 have it: the rows that suites of others have found. On real sockets.

`hostile` has the grammar of heads, by name. Here are the rules that it does not show.
"""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import MockClock

from fanout.server.answer import head_bytes
from fanout.server.asgi import App, Receive, Scope, Send
from fanout.server.limits import Limits
from tests.server.apps import Echo, crash
from tests.server.hostile import HEADS
from tests.server.serving import get, in_memory, on_socket

# By name in `HEADS`: the status, and the reason in the problem document.
ROWS = {
    "a version without a minor number": (400, "malformed_request"),  # RFC 9112 2.3
    "long method": (501, "method_not_implemented"),  # RFC 9110 15.6.2, 9.1; RFC 9112 3
    "method longer than a target": (501, "method_not_implemented"),
    "endless method": (501, "method_not_implemented"),
    "method of RTSP": (501, "method_not_implemented"),  # DESCRIBE, which llhttp knows
    "method of WebDAV": (501, "method_not_implemented"),
    "unknown method": (501, "method_not_implemented"),
    "method in lower case": (501, "method_not_implemented"),  # RFC 9110 9.1: the method is case-sensitive
    "coding before chunked": (501, "transfer_coding_not_implemented"),  # RFC 9112 6.1
    "coding before chunked in a field of its own": (501, "transfer_coding_not_implemented"),
    "CONNECT": (501, "method_not_implemented"),
    "CONNECT with a path": (501, "method_not_implemented"),
    "CONNECT with a URL": (501, "method_not_implemented"),
    "CONNECT with a star": (501, "method_not_implemented"),
    "CONNECT without a host": (501, "method_not_implemented"),
    "CONNECT in HTTP/1.0": (501, "method_not_implemented"),
    "CONNECT with a length": (501, "method_not_implemented"),
    "CONNECT with an upgrade": (501, "method_not_implemented"),
}


async def test_what_other_suites_have_found_is_answered_and_ends_the_connection() -> None:
    app = Echo()
    async with on_socket(app) as world:
        for name, (status, reason) in ROWS.items():
            client = await world.connect()
            await client.send(HEADS[name][0] + get("/smuggled"))
            got, fields, body = await client.answer()
            assert (name, got, json.loads(body)["reason"]) == (name, status, reason)
            assert fields["connection"] == "close"
            assert await client.closed()
        await world.settled()
        assert world.ended == {"refused": len(ROWS)}
    assert app.scopes == []
    assert world.crashes == []


async def test_an_empty_line_before_a_request_is_passed_over_in_two_packets() -> None:
    """RFC 9112 2.2: a server SHOULD ignore at least one empty line received prior to the request-line."""
    async with on_socket(Echo()) as world:
        client = await world.connect()
        for _ in range(3):  # before each request of a connection
            for piece in (b"\r", b"\n", get("/x")):
                await client.send(piece)
                await trio.sleep(0.01)
            assert (await client.answer())[2] == b"GET /x"


# RFC 9110 15 has all of these.
PHRASES = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    426: "Upgrade Required",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


@pytest.mark.parametrize("status", PHRASES)
def test_each_status_of_rfc_9110_has_its_reason_phrase_on_every_python(status: int) -> None:
    assert head_bytes(status, ()) == b"HTTP/1.1 %d %b\r\n\r\n" % (status, PHRASES[status].encode())


def test_a_status_without_a_name_has_an_empty_reason_phrase() -> None:
    """RFC 9112 4: the space behind the status code is sent also then."""
    assert head_bytes(599, ()) == b"HTTP/1.1 599 \r\n\r\n"


# Nothing behind the head of an answer to HEAD: RFC 9110 9.3.2


def to_head(request: bytes) -> bytes:
    return request.replace(b"GET", b"HEAD", 1).replace(b"POST", b"HEAD", 1)


HEAD_REQUESTS = sorted({to_head(sent) for sent, _ in HEADS.values() if to_head(sent).startswith(b"HEAD ")})


@pytest.mark.parametrize("piece_bytes", [None, 1])
async def test_a_head_request_that_is_refused_gets_no_content(
    piece_bytes: int | None, autojump_clock: MockClock
) -> None:
    """The length stays: it says how long the content of the answer to GET would be."""
    assert len(HEAD_REQUESTS) > 50
    async with in_memory(Echo()) as world:
        for sent in HEAD_REQUESTS:
            if piece_bytes is not None and len(sent) > 1000:
                continue
            client = world.connect()
            for at in range(0, len(sent), piece_bytes or len(sent)):
                await client.send(sent[at : at + (piece_bytes or len(sent))])
            await client.stream.send_eof()
            answer = await client.rest()
            head, end, behind = answer.partition(b"\r\n\r\n")
            assert (sent[:100], end, behind) == (sent[:100], b"\r\n\r\n", b"")
            assert b"content-length: " in head
            assert b"connection: close" in head


async def no_content(app: App, sent: bytes) -> bytes:
    """The head of the answer to `sent`; there is nothing behind it."""
    async with in_memory(app) as world:
        client = world.connect()
        await client.send(sent)
        head, end, behind = (await client.rest()).partition(b"\r\n\r\n")
    assert (end, behind) == (b"\r\n\r\n", b"")
    assert b"content-length: " in head
    return head


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_only_a_head_request_that_comes_too_slowly_gets_no_content(method: str) -> None:
    async with on_socket(Echo(), Limits(head_timeout_s=0.05)) as world:
        client = await world.connect()
        await client.send(method.encode() + b" / HTTP/1.1\r\nHost: a\r\n")
        head, end, behind = (await client.rest()).partition(b"\r\n\r\n")
    assert b" 408 " in head
    assert b"content-length: " in head
    assert (end, behind == b"") == (b"\r\n\r\n", method == "HEAD")


async def test_a_head_request_whose_app_crashes_gets_no_content(autojump_clock: MockClock) -> None:
    assert b" 500 " in await no_content(crash, b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


async def test_a_head_request_whose_body_is_malformed_gets_no_content(autojump_clock: MockClock) -> None:
    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    sent = b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n"
    assert b" 400 " in await no_content(reading, sent)


async def test_a_head_request_whose_app_sends_content_gets_none(autojump_clock: MockClock) -> None:
    assert b" 200 " in await no_content(Echo(), b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


async def test_a_get_after_a_head_gets_its_content_also_if_it_is_refused(autojump_clock: MockClock) -> None:
    async with in_memory(Echo()) as world:
        client = world.connect()
        for piece in (b"HEAD", b" / HTTP/1.1\r\nHost", b": a\r\n\r\n"):
            await client.send(piece)
            await trio.sleep(0.1)
        assert (await client.answer(head_only=True))[0] == 200
        assert (await client.ask(b"GET /\r\n\r\n"))[2]


SHED = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nshed"


@pytest.mark.parametrize("before", [b"", b"\r\n"])
@pytest.mark.parametrize("behind", [b"", b"more"])
async def test_a_head_request_that_is_shed_gets_no_content(
    before: bytes, behind: bytes, autojump_clock: MockClock
) -> None:
    async with in_memory(Echo(), refuse=lambda beginning: SHED) as world:
        client = world.connect()
        await client.send(before + b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + behind)
        await client.stream.send_eof()
        answer = await client.rest()
    assert answer == SHED.replace(b"\r\n", b"\r\nconnection: close\r\n", 1).removesuffix(b"shed")


# Forms of the target


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"*", "*"),
        (b"http://a", "*"),
        (b"http://a:80", "*"),
        (b"http://a/", "/"),
        (b"http://a/x", "/x"),
        (b"http://a?x", "/"),
    ],
)
async def test_options_without_a_path_is_about_the_server(
    target: bytes, path: str, autojump_clock: MockClock
) -> None:
    """RFC 9110 4.2.3: "when not being used as the target of an OPTIONS request, an empty path component is
    equivalent to an absolute path"; RFC 9112 3.2.4: it is sent on as `*`."""
    app = Echo()
    async with in_memory(app) as world:
        client = world.connect()
        assert (await client.ask(b"OPTIONS %b HTTP/1.1\r\nHost: a\r\n\r\n" % target))[0] == 200
    assert app.scopes[0]["path"] == path
