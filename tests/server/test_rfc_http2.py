"""HTTP/2 is held to the rules of HTTP/1.1, and to what RFC 9113 8 adds. Rows of other suites, over TLS."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import h2.events
import pytest
import trio
import trustme
from h2.errors import ErrorCodes
from trio.testing import MockClock, wait_all_tasks_blocked

from fanout.server.asgi import Receive, Scope, Send
from fanout.server.certificates import Certificate
from fanout.server.head import Head, parse_head
from fanout.server.http2_head import Malformed, read_head
from fanout.server.limits import Limits
from fanout.server.rejections import Rejected
from tests.blackbox.front_door.http2_frames import frame
from tests.server.apps import Echo, answer
from tests.server.hostile import HEADS
from tests.server.http2 import H2Client, Header, h2_client, http2_in_memory, request
from tests.server.http2_hostile import ALLOWED, GOODBYE, OWN, RESET, SAME, Ending, get
from tests.server.serving import on_socket, until
from tests.server.test_http2_head import ending

# What HTTP/2 cannot say: it has no lines, no versions, no transfer codings and no forms of the target.
ONLY_HTTP_1 = {
    "bare LF after the request line",
    "bare LF throughout",
    "no colon",
    "blank lines before the request",
    "HTTP/0.9",
    "HTTP/0.9 with a version",
    "HTTP/1.2",
    "HTTP/2.0",
    "HTTP/2 with prior knowledge",
    "a version without a minor number",
    "another version without a minor number",
    "version in lower case",
    "RTSP",
    "CONNECT with a URL",
    "CONNECT in HTTP/1.0",
    "CONNECT with an upgrade",
    "coding and length",
    "unknown coding",
    "coding before chunked in a field of its own",
    "coding with a parameter",
    "two codings before chunked",
    "coding that is not a token",
    "nothing before chunked",
    "chunked before chunked",
    "only another coding",
    "coding behind chunked",
    "empty coding",
    "coding in HTTP/1.0",
    "TLS on the cleartext port",
    "binary",
}


def test_the_list_of_http_1_is_that_of_http_2() -> None:
    """A new case of HTTP/1.1 is one of HTTP/2 as well, or is named here."""
    assert HEADS.keys() - SAME.keys() == ONLY_HTTP_1
    assert SAME.keys() <= HEADS.keys()
    assert not OWN.keys() & HEADS.keys()


ALL = SAME | OWN
# By name: how the stream ends. RFC 9113 8.1.1 has a stream error for what is malformed. A value that its own
# definition does not allow is not malformed (8.2.1), and is answered as over HTTP/1.1.
ROWS: dict[str, tuple[list[Header], Ending]] = {
    "method in lower case": (get(method=b"get"), 501),
    "method of WebDAV": (get(method=b"PROPFIND"), 501),
    "method with a target": (get(method=b"GET /x"), 400),
    "method that is not a token": (get(method=b"G@T("), 400),
    "authority with a user": (get(authority=b"user:pass@a"), 400),
    "authority with a space": (get(authority=b"a b"), 400),
    "authority with a slash": (get(authority=b"a/b"), 400),
    "authority with a bad port": (get(authority=b"a:x"), 400),
    "authority with a port above all ports": (get(authority=b"a:99999"), 400),
    "path with a blank": (get(path=b"/a b"), 400),
    "path with a tab": (get(path=b"/a\tb"), 400),
    "path with a fragment": (get(path=b"/a#b"), 400),
    "a star for GET": (get(path=b"*"), 400),
    "scheme with a blank": ([(b":scheme", b"a b"), *get()[:2], *get()[3:]], 400),
    "a length and no body": (get((b"content-length", b"5")), RESET),
    "101 fields": (get(*[(b"x", b"y")] * 101), 431),
    "a path of 9 KiB": (get(path=b"/" + b"x" * 9 * 1024), 414),
    "an expectation": (get((b"expect", b"x")), 417),
    "an expectation before one that is known": (get((b"expect", b"x"), (b"expect", b"100-continue")), 417),
    "another scheme, and the host in two cases": (
        [(name, b"ftp" if name == b":scheme" else value) for name, value in get((b"host", b"A"))],
        400,
    ),
    "a field in upper case": (get((b"X", b"y")), RESET),
    "a field of a connection": (get((b"connection", b"close")), RESET),
    "no path": ([field for field in get() if field[0] != b":path"], RESET),
}


@pytest.mark.parametrize(
    ("scheme", "host", "is_same"),
    [
        (b"http", b"a:80", True),
        (b"http", b"a:443", False),
        (b"https", b"a:443", True),
        (b"https", b"a:80", False),
        (b"https", b"A:", True),
        (b"https", b"b", False),
    ],
)
def test_the_host_may_have_the_port_of_its_scheme(scheme: bytes, host: bytes, is_same: bool) -> None:
    """RFC 3986 6.2.3. A host field that says another host than `:authority` is malformed; RFC 9113 8.3.1."""
    fields = get((b"host", host))
    sent = [(name, scheme if name == b":scheme" else value) for name, value in fields]
    with nullcontext() if is_same else pytest.raises(Malformed):
        assert read_head(sent, Limits(), ended=True).fields == [(b"host", b"a")]


async def test_what_other_suites_have_found_is_answered_or_resets_its_stream(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """On one connection, which stays."""
    app = Echo()
    async with on_socket(app, certificate=certificate) as world:
        client = await h2_client(world, authority)
        for number, (name, (sent, expected)) in enumerate(ROWS.items()):
            await client.send(sent, stream_id=2 * number + 1)
            assert (name, await ending(client, 2 * number + 1)) == (name, expected)
        await client.send(request(), stream_id=2 * len(ROWS) + 1)
        assert await ending(client, 2 * len(ROWS) + 1) == 200
        assert world.driver.statistics().malformed == len(ROWS)
    assert len(app.scopes) == 1
    assert world.crashes == []


def is_about_more_than_the_method(name: str) -> bool:
    sent, expected = ALL[name]
    return isinstance(expected, int) and bool({(b":method", b"GET"), (b":method", b"POST")} & set(sent))


@pytest.mark.parametrize("name", [*filter(is_about_more_than_the_method, ALL)])
async def test_the_answer_to_a_head_request_that_is_refused_has_no_content(
    name: str, autojump_clock: MockClock
) -> None:
    """RFC 9110 9.3.2. As over HTTP/1.1, its length stays."""
    sent, status = ALL[name]
    as_head = [(name, b"HEAD" if name == b":method" else value) for name, value in sent]
    async with http2_in_memory(Echo()) as world:
        client = world.connect()
        await client.send(as_head)
        answered = await client.next(h2.events.ResponseReceived)
        assert dict(answered.headers)[b":status"] == str(status).encode()
        assert int(dict(answered.headers)[b"content-length"]) > 0
        assert answered.stream_ended is not None


async def test_a_problem_over_http_2_says_what_it_says_over_http_1(autojump_clock: MockClock) -> None:
    async with http2_in_memory(Echo()) as world:
        client = world.connect()
        await client.send(get(method=b"G@T("))
        body = json.loads((await client.next(h2.events.DataReceived)).data)
    assert (body["status"], body["reason"], body["detail"]) == (
        400,
        "malformed_request",
        "The method is not a token.",
    )


@pytest.mark.parametrize("name", [name for name, (_, expected) in ALL.items() if expected == GOODBYE])
def test_a_connection_ends_only_where_h2_ends_it(name: str) -> None:
    """RFC 9113 5.4.1 allows it. A length that is no number, and more than 32 KiB of fields: nothing else."""
    sent, _ = ALL[name]
    lengths = [value for field, value in sent if field == b"content-length"]
    is_large = sum(len(field) + len(value) for field, value in sent) > 32 * 1024 or len(sent) > 1000
    assert is_large or any(not value.isdigit() for value in lengths) or len(set(lengths)) > 1


def status_of(read: Callable[..., Head], sent: object) -> int:
    try:
        read(sent, Limits())
    except Malformed:
        return 400
    except Rejected as rejected:
        return rejected.rejection.status
    return 200


HTTP_1_ALONE = {"a name": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ:"}  # a colon ends a name, and names have any case
PLACES: dict[str, tuple[bytes, Callable[[bytes], list[Header]]]] = {
    "a name": (b"GET / HTTP/1.1\r\nHost: a\r\nx%sy: z\r\n\r\n", lambda byte: get((b"x%sy" % byte, b"z"))),
    "a value": (b"GET / HTTP/1.1\r\nHost: a\r\nx: y%sz\r\n\r\n", lambda byte: get((b"x", b"y%sz" % byte))),
    "the method": (b"G%sT / HTTP/1.1\r\nHost: a\r\n\r\n", lambda byte: get(method=b"G%sT" % byte)),
    "the path": (b"GET /x%sy HTTP/1.1\r\nHost: a\r\n\r\n", lambda byte: get(path=b"/x%sy" % byte)),
    "the query": (b"GET /?x%sy HTTP/1.1\r\nHost: a\r\n\r\n", lambda byte: get(path=b"/?x%sy" % byte)),
    "the host": (b"GET / HTTP/1.1\r\nHost: x%sy\r\n\r\n", lambda byte: get(authority=b"x%sy" % byte)),
}


@pytest.mark.parametrize("place", PLACES)
def test_each_byte_is_good_for_both_or_for_neither(place: str) -> None:
    """RFC 9113 8.2.1: "Failure to validate fields can be exploited for request smuggling attacks"."""
    http1, http2 = PLACES[place]
    for number in range(256):
        byte = bytes((number,))
        status = status_of(parse_head, http1 % byte)
        if byte in HTTP_1_ALONE.get(place, b""):
            assert status == 200
            status = 400
        assert (byte, status_of(partial(read_head, ended=True), http2(byte))) == (byte, status)


# What RFC 9113 adds


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ([b"a=b"], [b"a=b"]),
        ([b"a=b", b"c=d", b"e=f; g=h"], [b"a=b; c=d; e=f; g=h"]),
        ([], []),
    ],
)
async def test_crumbs_of_a_cookie_are_one_cookie(
    sent: list[bytes], told: list[bytes], autojump_clock: MockClock
) -> None:
    """RFC 9113 8.2.3: they MUST be concatenated "before being passed into a non-HTTP/2 context"."""
    app = Echo()
    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(get(*[(b"cookie", crumb) for crumb in sent], (b"x", b"y")))
        assert await ending(client, 1) == 200
    fields = app.scopes[0]["headers"]
    assert [value for name, value in fields if name == b"cookie"] == told
    assert (b"x", b"y") in fields


async def with_trailers(client: H2Client, body: bytes) -> None:
    """A request whose length is five."""
    await client.send(get((b"content-length", b"5"), path=b"/slow", method=b"POST"), end=False)
    if body:
        client.connection.send_data(1, body)
    client.connection.send_headers(1, [(b"x", b"y")], end_stream=True)
    await client.flush()


@pytest.mark.parametrize("body", [b"", b"1234"])
async def test_a_body_that_is_too_short_is_malformed_before_trailers_as_well(
    body: bytes, authority: trustme.CA, certificate: Certificate
) -> None:
    """RFC 9113 8.1.1: malformed "if the value of the Content-Length header field does not equal the sum of
    the DATA frame payload lengths that form the content". h2 forgets the length when it reads trailers."""
    app = Echo(slow_s=60)
    async with on_socket(app, certificate=certificate) as world:
        client = await h2_client(world, authority)
        await with_trailers(client, body)
        assert await ending(client, 1) == RESET
        await client.send(request(), stream_id=3)
        assert await ending(client, 3) == 200
        await until(lambda: not app.running)
    assert world.crashes == []


async def test_a_whole_body_before_trailers_is_served(
    authority: trustme.CA, certificate: Certificate
) -> None:
    app = Echo(slow_s=0)
    async with on_socket(app, certificate=certificate) as world:
        client = await h2_client(world, authority)
        await with_trailers(client, b"12345")
        assert await ending(client, 1) == 200


END_STREAM, END_HEADERS = 0x1, 0x4


@pytest.mark.parametrize(
    ("stream_id", "flags", "fields"),
    [
        (1, END_HEADERS, [(b"x", b"y")]),
        (1, END_HEADERS, [(b":status", b"100")]),
        (3, END_HEADERS, [(b":status", b"100"), *get()]),
        (3, END_HEADERS | END_STREAM, [(b":status", b"100"), *get()]),
    ],
)
async def test_heads_that_h2_ends_the_connection_for(
    stream_id: int, flags: int, fields: list[Header], authority: trustme.CA, certificate: Certificate
) -> None:
    """RFC 9113 8.1: a HEADERS frame "without the END_STREAM flag set after receiving the HEADERS frame that
    opens a request" is malformed; 8.3: so are pseudo-header fields "defined for responses" in a request."""
    app = Echo(slow_s=60)
    async with on_socket(app, certificate=certificate) as world:
        client = await h2_client(world, authority)
        await client.send(request(b"/slow", b"POST"), end=False)
        block = client.connection.encoder.encode(fields)
        await client.stream.send_all(frame(0x1, flags, stream_id, block))
        assert await ending(client, 1) == GOODBYE
        await world.settled()
    assert len(app.scopes) == 1
    assert world.crashes == []


class Bodies:
    """Receives the body, after `before_s`, and answers with it."""

    def __init__(self, before_s: float = 0.0) -> None:
        self.before_s = before_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(self.before_s)
        body, message = b"", {"more_body": True}
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        await answer(send, body)


async def next_status(client: H2Client) -> int:
    while True:
        event = await client.next(h2.events.Event)
        if isinstance(event, h2.events.InformationalResponseReceived | h2.events.ResponseReceived):
            return int(dict(event.headers)[b":status"])


EXPECTING = get((b"expect", b"100-continue"), (b"content-length", b"2"), method=b"POST")


async def test_a_client_that_expects_it_is_told_to_continue_once(autojump_clock: MockClock) -> None:
    """RFC 9110 10.1.1: an origin server MUST send an immediate final status, or 100."""
    async with http2_in_memory(Bodies()) as world:
        client = world.connect()
        await client.send(EXPECTING, end=False)
        assert await next_status(client) == 100
        for piece, is_last in ((b"a", False), (b"b", True)):
            client.connection.send_data(1, piece, end_stream=is_last)
            await client.flush()
            await wait_all_tasks_blocked()
        assert await next_status(client) == 200
        assert (await client.next(h2.events.DataReceived)).data == b"ab"
    assert world.crashes == []


@pytest.mark.parametrize("body", [b"ab", b"a"])
async def test_a_client_that_has_begun_its_body_is_not(body: bytes, autojump_clock: MockClock) -> None:
    """RFC 9110 10.1.1: a server MAY omit it "if it has already received some or all of the content"."""
    async with http2_in_memory(Bodies(before_s=1)) as world:
        client = world.connect()
        await client.send(EXPECTING, end=False)
        client.connection.send_data(1, body, end_stream=body == b"ab")
        await client.flush()
        await trio.sleep(2)
        if body == b"a":
            client.connection.send_data(1, b"b", end_stream=True)
            await client.flush()
        assert await next_status(client) == 200
    assert world.crashes == []


@pytest.mark.parametrize(
    "sent", [get((b"content-length", b"2"), method=b"POST"), get((b"expect", b"100-continue"))]
)
async def test_a_client_that_expects_nothing_or_has_no_body_is_not(
    sent: list[Header], autojump_clock: MockClock
) -> None:
    async with http2_in_memory(Bodies()) as world:
        client = world.connect()
        has_body = len(sent[-1][1]) == 1
        await client.send(sent, end=not has_body)
        await trio.sleep(1)
        if has_body:
            client.connection.send_data(1, b"ab", end_stream=True)
            await client.flush()
        assert await next_status(client) == 200


async def test_a_refused_body_is_answered_at_once_without_continue(autojump_clock: MockClock) -> None:
    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 413)

    async with http2_in_memory(refusing) as world:
        client = world.connect()
        await client.send(EXPECTING, end=False)
        assert await next_status(client) == 413
        assert await client.reset() == ErrorCodes.NO_ERROR


async def test_options_of_the_server_reaches_the_app(autojump_clock: MockClock) -> None:
    """RFC 9113 8.3.1: the asterisk form is `*` in `:path`."""
    app = Echo()
    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(ALLOWED["OPTIONS of the server"][1])
        assert await ending(client, 1) == 200
    assert (app.scopes[0]["path"], app.scopes[0]["raw_path"]) == ("*", b"*")


async def test_more_requests_at_once_than_allowed_end_the_connection(autojump_clock: MockClock) -> None:
    """RFC 9113 5.1.2, and 5.4.1: a stream error may be treated as a connection error."""
    app = Echo(slow_s=60)
    async with http2_in_memory(app, Limits(max_streams=3)) as world:
        client = world.connect()
        for number in range(4):
            await client.send(request(b"/slow"), stream_id=2 * number + 1)
        assert await client.goodbye() == ErrorCodes.PROTOCOL_ERROR
    assert len(app.scopes) <= 3
    assert app.running == 0
    assert world.crashes == []
