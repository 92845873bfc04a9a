"""What one upstream call makes of what httpx reports. A mock of httpx is what is wanted here: respx.

The wire itself is tested with the simulated upstream, over real sockets.
"""

from __future__ import annotations

import gzip
from random import Random

import httpx
import pytest
import respx
import trio
from trio.testing import MockClock

import fanout
from fanout.race.outcome import TOO_LATE, Cancelled, Failure, Success
from fanout.race.timings import CallTimings
from fanout.upstream import call
from fanout.upstream.call import MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, UpstreamCall, is_valid_payload
from fanout.upstream.errors import WORDS, BodyTooLarge
from fanout.upstream.phases import EXTENSION, Phase
from tests.upstream.scripted_wire import ScriptedWire, World

URL = "http://upstream.test/api/work"
ANSWER = b'{"time": 160}'


async def outcome_of(response: httpx.Response | Exception) -> Success | Failure | Cancelled:
    with respx.mock(using="httpx") as router:
        router.get(URL).mock(side_effect=[response])
        return await UpstreamCall(httpx.MockTransport(router.async_handler), URL)(CallTimings("test", 0))


async def test_a_good_answer_is_passed_on_byte_for_byte() -> None:
    body = b'\n{"time":160,  "x": 1.0}'
    assert await outcome_of(httpx.Response(200, content=body)) == Success(body)


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 304, 307, 400, 404, 429, 500, 503, 599])
async def test_any_status_but_200_is_a_failure_even_with_a_good_body(status: int) -> None:
    """Redirects are not followed: the location would be called in the same time."""
    response = httpx.Response(status, content=ANSWER, headers={"Location": URL})
    assert await outcome_of(response) == Failure("bad_status", status)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (httpx.ConnectError("refused"), "unreachable"),
        (httpx.ConnectTimeout("slow"), "unreachable"),
        (httpx.ReadError("reset"), "broken"),
        (httpx.WriteError("reset"), "broken"),
        (httpx.CloseError("reset"), "broken"),
        (httpx.RemoteProtocolError("no HTTP"), "broken"),
        (httpx.ReadTimeout("slow"), "broken"),
        (BodyTooLarge("70 KiB"), "too_large"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
async def test_what_httpx_raises_becomes_a_stable_word(error: Exception, word: str) -> None:
    assert await outcome_of(error) == Failure(word)


async def test_a_cancelled_call_ends_as_cancelled_and_not_as_a_failure() -> None:
    """G4, G6. Who cancels must see it: a failure in its place would be told of the upstream."""

    async def hang(request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        scope.cancel()
        await UpstreamCall(httpx.MockTransport(hang), URL)(CallTimings("test", 0))
    assert scope.cancelled_caught


async def test_a_body_that_cannot_be_decoded_is_a_bad_payload() -> None:
    assert await outcome_of(httpx.DecodingError("no gzip")) == Failure("bad_payload")


async def test_an_upstreams_cookies_are_not_kept() -> None:
    """One request's answer must not change another's call."""
    with respx.mock(using="httpx") as router:
        route = router.get(URL).respond(content=ANSWER, headers={"Set-Cookie": "a=b; Path=/"})
        call = UpstreamCall(httpx.MockTransport(router.async_handler), URL)
        for _ in range(2):
            await call(CallTimings("test", 0))
        assert [made.request.headers.get("cookie") for made in route.calls] == [None, None]


@pytest.mark.parametrize(
    ("url", "authorization"),
    [
        (URL, None),
        ("http://user:pass@upstream.test/api/work", "Basic dXNlcjpwYXNz"),
        ("http://us%20er:p%40ss@upstream.test/api/work", "Basic dXMgZXI6cEBzcw=="),
    ],
)
async def test_credentials_in_the_url_become_basic_authentication(
    url: str, authorization: str | None
) -> None:
    with respx.mock(using="httpx") as router:
        route = router.get(host="upstream.test").respond(content=ANSWER)
        await UpstreamCall(httpx.MockTransport(router.async_handler), url)(CallTimings("test", 0))
        assert route.calls.last.request.headers.get("authorization") == authorization
        assert route.calls.last.request.headers["host"] == "upstream.test"


async def test_a_bug_below_is_not_a_failure() -> None:
    """Only httpx's own family is expected; anything else must stay loud (G11)."""
    with pytest.raises(ZeroDivisionError):
        await outcome_of(ZeroDivisionError())


WIRE_HEAD = (
    b"GET /work HTTP/1.1\r\nHost: 192.0.2.1\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
    b"User-Agent: fanout/%b\r\n%b\r\n"
)


@pytest.mark.parametrize(
    ("user", "more", "fields"),
    [
        ("", (), b""),
        (
            "user:pass@",
            ((b"traceparent", b"00-1"),),
            b"Authorization: Basic dXNlcjpwYXNz\r\ntraceparent: 00-1\r\n",
        ),
    ],
)
async def test_every_byte_of_a_request(
    autojump_clock: MockClock, user: str, more: tuple[tuple[bytes, bytes], ...], fields: bytes
) -> None:
    wire = ScriptedWire([b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + ANSWER])
    world = World(wire)
    timings = CallTimings("test", 0, more)
    call = UpstreamCall(world.transport, f"http://{user}192.0.2.1/work")
    assert await call(timings) == Success(ANSWER)
    assert wire.sent == [WIRE_HEAD % (fanout.__version__.encode(), fields)]


@pytest.mark.parametrize(
    ("fields", "body", "word"),
    [
        (b"", b"[]", "bad_payload"),
        (b"Content-Encoding: gzip\r\n", b"no gzip", "bad_payload"),
        (b"Content-Encoding: gzip\r\n", gzip.compress(bytes(2000), mtime=0), "too_large"),
    ],
)
async def test_a_body_that_is_not_what_it_should_be_fails_with_its_status(
    autojump_clock: MockClock, fields: bytes, body: bytes, word: str
) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: %d\r\n\r\n" % len(body)
    world = World(ScriptedWire([head + body]), max_body_bytes=1000)
    call = UpstreamCall(world.transport, "http://192.0.2.1/work")
    assert await call(CallTimings("test", 0)) == Failure(word, 200)


async def test_over_any_transport_the_phases_are_marked_and_fields_are_added() -> None:
    timings = CallTimings("test", 0, ((b"traceparent", b"00-1"),))
    made: list[httpx.Request] = []

    async def transport(request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        made.append(request)
        for phase in (Phase.CONNECT, Phase.WAIT):
            request.extensions["fanout.phase"](phase)
        return httpx.Response(200, content=ANSWER)

    assert await UpstreamCall(httpx.MockTransport(transport), URL)(timings) == Success(ANSWER)
    assert made[0].method == "GET"
    assert made[0].headers["traceparent"] == "00-1"
    assert [phase for phase, _ in timings.seen] == ["connect", "wait"]


async def test_over_any_transport_a_call_that_is_too_late_sends_nothing() -> None:
    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError("it was sent")

    timings = CallTimings("test", 0, ends_at=trio.current_time())
    assert await UpstreamCall(httpx.MockTransport(never), URL)(timings) is TOO_LATE


def test_a_payload_has_the_bounds_that_the_documents_give() -> None:
    """64 KiB, to which the transport is bound, and one level less than a document may have."""
    assert (MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH) == (65_536, 63)


def test_the_words_are_stable() -> None:
    """Clients and dashboards match on them, and browsers know those of HAR."""
    assert WORDS == ("unreachable", "broken", "bad_status", "too_large", "bad_payload")
    assert [*Phase] == ["reused", "connect", "tls", "wait", "receive", "done", "kept", "retry"]
    assert EXTENSION == "fanout.phase"


@pytest.mark.parametrize(
    ("url", "authorization"),
    [
        ("http://user@a.test/", "Basic dXNlcjo="),
        ("http://:pass@a.test/", "Basic OnBhc3M="),
        ("http://\N{LATIN SMALL LETTER U WITH DIAERESIS}:p@a.test/", "Basic w7w6cA=="),
    ],
)
async def test_half_a_credential_is_one_too(url: str, authorization: str) -> None:
    seen: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, content=ANSWER)

    await UpstreamCall(httpx.MockTransport(note), url)(CallTimings("test", 0))
    assert seen == [authorization]


# What counts as a success (DESIGN.md §2), value by value.

VALID = [
    b'{"time": 160}',
    b'{"time":0}',
    b'{"time":  0}',
    b'{"time": 123456789012345678}\n',
    b' \r\n\t{"time": 1} ',
    b'{"time": 123456789012345678901234567890}',
    b'{"time": 1, "more": {"time": "x"}, "list": [1.5, null, true]}',
    b'{"time": 1, "x": ' + b"[" * 62 + b"]" * 62 + b"}",
    b'{"time": 1, "x": "' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"}',
    '{"time": 1, "é": "\N{GRINNING FACE}"}'.encode(),
]
INVALID = {
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
    "time in capitals": b'{"TIME": 160}',
    "string": b'{"time": "1"}',
    "bool": b'{"time": true}',
    "null time": b'{"time": null}',
    "float": b'{"time": 160.0}',
    "exponent": b'{"time": 1e2}',
    "negative": b'{"time": -1}',
    "a name twice": b'{"time": 1, "time": 2}',
    "a name twice, deeper": b'{"time": 1, "a": {"b": 1, "b": 2}}',
    "a name twice, once in other letters": b'{"t\\u0069me": 1, "time": 2}',
    "a name twice, after a space": b'{"time" : 1, "time"\t\r\n: 2}',
    "a line break in a string": b'{"time": 1, "x": "\n"}',
    "a surrogate": b'{"time": 1, "x": "\xed\xa0\x80"}',
    "NaN": b'{"time": 1, "x": NaN}',
    "Infinity": b'{"time": 1, "x": -Infinity}',
    "single quotes": b"{'time': 1}",
    "trailing comma": b'{"time": 1,}',
    "not UTF-8": b'{"time": 1, "x": "\xff"}',
    "UTF-16": '{"time": 1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"time": 1}',
    "digits without end": b'{"time": ' + b"9" * 5000 + b"}",
    "one level too deep": b'{"time": 1, "x": ' + b"[" * 63 + b"]" * 63 + b"}",
    "deep": b'{"time": 1, "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
}


PLAIN = [
    b'{"time": 160}\n',
    b'{"time":0,"id" : 7, "load": 0.25,\n "note": "quite \\"right\\"", "tags": ["a", null, true, {}]}',
    '{"é": -1.5e-3, "time": 18446744073709551616}'.encode(),
    b'{"time": 1, "x": 1e999}',
    b'{"time": 1, "x": "' + b"x" * 4076 + b'"}',
    b'{"time": 1, "x": [' + b"[], " * 60 + b"[]]}",
]
PIECES = [bytes([each]) for each in b'{}[]":,\\ \n\x00\xff\xc3e.-0179utN']
PIECES += [b'"time":1,', b'"id":7,', b',"a":{"time":2}', b"\\u0074", b'":']


@pytest.mark.parametrize("body", PLAIN)
def test_a_usual_payload_is_known_without_pythons_parser(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "_is_valid", None)
    assert is_valid_payload(body)


@pytest.mark.parametrize(
    "body",
    [b'{"time": 1, "x": "' + b"x" * 4077 + b'"}', b'{"time": 1, "x": [' + b"[], " * 61 + b"[]]}"],
    ids=["long", "many lists"],
)
def test_what_is_large_is_parsed_once(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "_decode", None)
    assert is_valid_payload(body)


def test_what_is_valid_without_pythons_parser_is_valid_with_it() -> None:
    random = Random(1)
    plain = 0
    for _ in range(30_000):
        body = bytearray(random.choice(PLAIN))
        for _ in range(random.choice((1, 1, 2, 3))):
            piece, at = random.choice(PIECES), random.randrange(len(body) + 1)
            body[at : at + random.choice((0, 0, 1, len(piece)))] = piece
        if call._is_plainly_valid(bytes(body)):
            plain += 1
            assert call._is_valid(bytes(body)), body
    assert plain > 2000


@pytest.mark.parametrize("body", VALID)
def test_a_json_object_with_a_non_negative_integer_time_is_a_success(body: bytes) -> None:
    assert is_valid_payload(body)


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID)
def test_anything_else_is_not(body: bytes) -> None:
    assert not is_valid_payload(body)
