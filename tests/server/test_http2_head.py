"""HTTP/2 has the grammar and the bounds of HTTP/1.1: the same requests, and the same answers. G1, G10."""

from __future__ import annotations

import json

import h2.events
import pytest
from h2.errors import ErrorCodes
from trio.testing import MockClock

from fanout.server import head
from fanout.server.asgi import Receive, Scope, Send
from fanout.server.http2_head import Malformed, read_head
from fanout.server.limits import Limits
from fanout.server.rejections import Rejected
from tests.server.apps import Echo
from tests.server.hostile import HEADS
from tests.server.http2 import H2Client, Header, http2_in_memory, request
from tests.server.http2_hostile import ALLOWED, GOODBYE, OWN, RESET, SAME, Ending, get
from tests.server.serving import in_memory

ALL = SAME | OWN
LIMITS = Limits()


async def ending(client: H2Client, stream_id: int) -> Ending:
    """How a stream ends: the status of its answer, `RESET` or `GOODBYE`."""
    while True:
        event = await client.next(h2.events.Event)
        match event:
            case h2.events.ConnectionTerminated():
                return GOODBYE
            case h2.events.StreamReset(stream_id=reset_id, error_code=error) if reset_id == stream_id:
                assert error == ErrorCodes.PROTOCOL_ERROR
                return RESET
            case h2.events.ResponseReceived(stream_id=answered_id, headers=fields) if (
                answered_id == stream_id
            ):
                return int(dict(fields)[b":status"])


@pytest.mark.parametrize("name", ALL)
async def test_what_is_refused_is_refused_on_its_stream_and_the_app_hears_nothing(
    name: str, autojump_clock: MockClock
) -> None:
    """And the connection stays, except where h2 ends it. RFC 9113 8.1.1."""
    sent, expected = ALL[name]
    app = Echo()
    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.flush()
        await client.next(h2.events.SettingsAcknowledged)  # so that its bounds are what they will be
        await client.send(sent)
        assert await ending(client, 1) == expected
        if expected != GOODBYE:
            await client.send(request(), stream_id=3)
            assert await ending(client, 3) == 200
            assert world.driver.malformed == 1
    assert len(app.scopes) == (expected != GOODBYE)
    assert world.crashes == []


@pytest.mark.parametrize("name", [name for name, (_, expected) in SAME.items() if isinstance(expected, int)])
def test_the_status_is_that_of_http_1(name: str) -> None:
    """One grammar, and one table of limits."""
    assert SAME[name][1] == HEADS[name][1]


@pytest.mark.parametrize("name", ALLOWED)
async def test_what_is_unusual_and_allowed_is_served_by_both(name: str, autojump_clock: MockClock) -> None:
    http1, http2 = ALLOWED[name]
    app = Echo()
    async with in_memory(app) as world:
        assert (await world.connect().ask(http1))[0] == 200
    async with http2_in_memory(app) as over_http2:
        client = over_http2.connect()
        await client.send(http2)
        assert await ending(client, 1) == 200
    over_http1, same = app.scopes
    for key in ("method", "path", "raw_path", "query_string"):
        assert over_http1[key] == same[key]
    assert dict(over_http1["headers"]).get(b"host") == dict(same["headers"])[b"host"]
    assert world.crashes == over_http2.crashes == []


POST = b"POST /a?b=%20 HTTP/1.1\r\nHost: a\r\nX: y\r\n"
BODIES: dict[str, tuple[bytes, list[Header], bool]] = {
    "a length": (
        POST + b"Content-Length: 5\r\n\r\n",
        get((b"x", b"y"), (b"content-length", b"5"), path=b"/a?b=%20", method=b"POST"),
        False,
    ),
    "a length of nothing": (
        POST + b"Content-Length: 0\r\n\r\n",
        get((b"x", b"y"), (b"content-length", b"0"), path=b"/a?b=%20", method=b"POST"),
        True,
    ),
    "no length": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        get((b"x", b"y"), path=b"/a?b=%20", method=b"POST"),
        False,
    ),
    "no body": (POST + b"\r\n", get((b"x", b"y"), path=b"/a?b=%20", method=b"POST"), True),
    "an expectation": (
        POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        get(
            *((b"x", b"y"), (b"expect", b"100-continue"), (b"content-length", b"5")),
            path=b"/a?b=%20",
            method=b"POST",
        ),
        False,
    ),
    "a field with the host": (
        POST + b"\r\n",
        get((b"host", b"a"), (b"x", b"y"), path=b"/a?b=%20", method=b"POST", authority=None),
        True,
    ),
    "a host behind other fields": (
        POST + b"\r\n",
        get((b"x", b"y"), (b"host", b"a"), path=b"/a?b=%20", method=b"POST"),
        True,
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_head_is_read_as_the_same_head_of_http_1(name: str) -> None:
    """Field by field and in their order. Only its connection is another one: it always stays."""
    http1, http2, ended = BODIES[name]
    same = head.parse_head(http1, LIMITS)
    assert read_head(http2, LIMITS, ended=ended) == same._replace(version="2", keep_alive=True)


def test_nobody_waits_to_continue_with_a_body_that_has_ended() -> None:
    sent = get((b"expect", b"100-continue"))
    assert not read_head(sent, LIMITS, ended=True).expects_continue


@pytest.mark.parametrize("too_many", [0, 1])
def test_the_bounds_of_a_head_are_exact(too_many: int) -> None:
    """In bytes as HTTP/1.1 would write it, with the pseudo-header fields, and in fields, with the host."""
    size_bytes = sum(len(name) + len(value) + 4 for name, value in get((b"x", b"")))
    longest = get((b"x", b"x" * (LIMITS.max_head_bytes - size_bytes + too_many)))
    most = get((b"host", b"a"), *[(b"x", b"y")] * (LIMITS.max_fields - 1 + too_many))
    for sent in (longest, most):
        if not too_many:
            assert read_head(sent, LIMITS, ended=True).path == "/"
            continue
        with pytest.raises(Rejected) as raised:
            read_head(sent, LIMITS, ended=True)
        assert raised.value.rejection.status == 431


DETAILS = {
    "a name that is no token": (get((b"a(b", b"x")), "A header field is not a name and a value."),
    "a value with a control character": (get((b"x", b"\x01")), "A header field is not a name and a value."),
    "two hosts": (get((b"host", b"a"), (b"host", b"a")), "The field host is there more than once."),
    "no host": (get(authority=None), "A request needs an :authority, or a Host field."),
    "another scheme": (
        [(b":scheme", b"ftp"), *get()[:2], *get()[3:]],
        "The scheme is neither http nor https.",
    ),
}


@pytest.mark.parametrize("name", DETAILS)
def test_what_is_wrong_with_a_head_is_said(name: str) -> None:
    sent, detail = DETAILS[name]
    with pytest.raises(Rejected) as raised:
        read_head(sent, LIMITS, ended=True)
    assert (raised.value.rejection.status, raised.value.rejection.detail) == (400, detail)


def test_a_mistake_of_the_framing_counts_before_any_other() -> None:
    """RFC 9113 8.1.1: what is malformed must not be answered as if it were a request."""
    for field in ((b"X", b"y"), (b"connection", b"close"), (b"x", b" y")):
        with pytest.raises(Malformed):
            read_head(get((b"a(b", b"x"), field), LIMITS, ended=True)


async def test_an_answer_to_a_refused_request_is_the_problem_document_of_http_1(
    autojump_clock: MockClock,
) -> None:
    async with in_memory(Echo()) as world:
        _, fields, body = await world.connect().ask(HEADS["method in lower case"][0])
    async with http2_in_memory(Echo()) as over_http2:
        client = over_http2.connect()
        await client.send(get(method=b"get"))
        got = {
            name.decode(): value.decode()
            for name, value in (await client.next(h2.events.ResponseReceived)).headers
        }
        assert got.pop(":status") == "501"
        assert (await client.next(h2.events.DataReceived)).data == body
        assert await client.ended() == 1
    del fields["connection"]
    assert got == fields
    assert json.loads(body)["reason"] == "method_not_implemented"


async def test_a_refused_head_request_gets_no_body(autojump_clock: MockClock) -> None:
    async with http2_in_memory(Echo()) as world:
        client = world.connect()
        await client.send(get((b"expect", b"foo"), method=b"HEAD"))
        answered = await client.next(h2.events.ResponseReceived)
        assert dict(answered.headers)[b":status"] == b"417"
        assert answered.stream_ended is not None


async def test_a_client_without_a_window_gets_the_status_of_its_mistake(autojump_clock: MockClock) -> None:
    """Not REFUSED_STREAM: it would send the same again."""
    async with http2_in_memory(Echo()) as world:
        client = world.connect()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.send(get(method=b"get"))
        answered = await client.next(h2.events.ResponseReceived)
        assert dict(answered.headers)[b":status"] == b"501"
        assert b"content-length" not in dict(answered.headers)  # there is no body of that length
        assert answered.stream_ended is not None


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_a_body_without_a_length_is_told_to_the_app_as_over_http_1(
    method: bytes, autojump_clock: MockClock
) -> None:
    """An app that takes no body sees that there is one, as it does over HTTP/1.1."""
    app = Echo()
    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(get(method=method), end=False)
        client.connection.send_data(1, b"x", end_stream=True)
        await client.flush()
        assert await ending(client, 1) == 200
        await client.send(get((b"content-length", b"1"), method=method), stream_id=3, end=False)
        assert await ending(client, 3) == 200
    assert [dict(scope["headers"]).get(b"transfer-encoding") for scope in app.scopes] == [b"chunked", None]


@pytest.mark.parametrize("parts", [[b"123456"], [b"1234"], [b"123", b"456"], []])
async def test_data_that_is_not_as_long_as_it_says_ends_the_connection(
    parts: list[bytes], autojump_clock: MockClock
) -> None:
    """RFC 9113 8.1.1, as h2 has it."""
    app = Echo(slow_s=60)
    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(get((b"content-length", b"5"), path=b"/slow", method=b"POST"), end=False)
        for part in parts:
            client.connection.send_data(1, part)
        client.connection.end_stream(1)
        await client.flush()
        assert await client.goodbye() == ErrorCodes.PROTOCOL_ERROR
    assert world.crashes == []


TRAILERS: dict[str, tuple[Header, bool]] = {
    "a field": ((b"x", b"y"), True),
    "a field that ends in a space": ((b"x", b"y "), False),
    "upper case": ((b"X", b"y"), False),
    "a pseudo-header field": ((b":path", b"/"), False),
    "a field of a connection": ((b"connection", b"close"), False),
}


@pytest.mark.parametrize("name", TRAILERS)
async def test_trailers_are_checked_as_well(name: str, autojump_clock: MockClock) -> None:
    """RFC 9113 8.1: without pseudo-header fields, and with the grammar of fields."""
    field, is_valid = TRAILERS[name]
    app = Echo(slow_s=1)
    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(request(b"/slow", b"POST"), end=False)
        client.connection.send_headers(1, [field], end_stream=True)
        await client.flush()
        assert await ending(client, 1) == (200 if is_valid else RESET)
        await client.send(request(), stream_id=3)
        assert await ending(client, 3) == 200
        assert len(app.told_at) == (not is_valid)
    assert world.crashes == []


async def test_a_crash_within_an_answer_ends_its_stream(autojump_clock: MockClock) -> None:
    """G1, G11. The client must not wait for the rest, nor take a part for the whole."""

    async def breaking(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise KeyError("a bug")

    async with http2_in_memory(breaking) as world:
        client = world.connect()
        await client.send(request())
        assert await client.reset() == ErrorCodes.INTERNAL_ERROR
    assert [type(error) for error in world.crashes] == [KeyError]


async def test_an_app_that_ends_without_an_answer_has_a_bug(autojump_clock: MockClock) -> None:
    """G1, G11."""

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async with http2_in_memory(silent) as world:
        client = world.connect()
        await client.send(request())
        assert await ending(client, 1) == 500
        assert await client.ended() == 1
    assert [repr(error) for error in world.crashes] == [
        "RuntimeError('the app returned without a complete answer')"
    ]
