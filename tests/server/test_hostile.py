"""Malformed requests are refused with a problem and a close; what is behind them is never a request."""

from __future__ import annotations

import json

import httptools
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.server.answer import head_bytes
from fanout.server.asgi import Receive, Scope, Send
from fanout.server.head import parse_head
from fanout.server.limits import Limits
from fanout.server.rejections import Rejected
from tests.bystander import bystander_of_this_thread
from tests.server.apps import Echo
from tests.server.hostile import BODIES, GET, HEADS, POST
from tests.server.serving import get, in_memory, on_socket


@pytest.mark.parametrize(("sent", "status"), HEADS.values(), ids=HEADS.keys())
async def test_a_malformed_head_is_refused_and_the_connection_closes(
    sent: bytes, status: int, autojump_clock: MockClock
) -> None:
    """G10. One problem document, then the end: the app hears nothing, also of the request smuggled behind."""
    app = Echo()
    async with in_memory(app) as world:
        client = world.connect()
        await client.send(sent + get("/smuggled"))
        got, fields, body = await client.answer()
        await client.stream.send_eof()
        assert await client.closed()
        await world.all_ended()
    assert got == status
    assert fields["content-type"] == "application/problem+json"
    assert fields["connection"] == "close"
    assert json.loads(body)["status"] == status
    assert app.scopes == []
    assert world.crashes == []
    assert world.ended == {"refused": 1}


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize(
    "name", ["bare LF throughout", "folded line", "endless target", "two hosts", "binary"]
)
async def test_the_pieces_in_which_bytes_come_change_nothing(
    name: str, size: int, autojump_clock: MockClock
) -> None:
    sent, status = HEADS[name]
    async with in_memory(Echo()) as world:
        client = world.connect()
        world.nursery.start_soon(_send_in_pieces, client.stream, sent[:9_000], size)
        got, _, _ = await client.answer()
    assert got == status


async def _send_in_pieces(stream: trio.abc.SendStream, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        await stream.send_all(data[start : start + size])


async def read_whole_body(scope: Scope, receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] == "http.request":
        if not message["more_body"]:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"read"})
            return


@pytest.mark.parametrize(("sent", "status"), BODIES.values(), ids=BODIES.keys())
async def test_a_malformed_body_is_a_hang_up_for_the_app_and_a_400_for_the_client(
    sent: bytes, status: int, autojump_clock: MockClock
) -> None:
    async with in_memory(read_whole_body) as world:
        client = world.connect()
        got, _, _ = await client.ask(sent)
        await client.stream.send_eof()
        assert await client.closed()
    assert got == status
    assert world.crashes == []


LENIENT = {
    "two spaces in the request line",
    "blank lines before the request",
    "HTTP/0.9",
    "HTTP/0.9 with a version",
    "HTTP/2.0",
    "RTSP",
    "no host",
    "two hosts",
    "empty host",
    "host with nothing but a port",
    "host with a path",
    "host with a space",
    "host with a user",
    "host with a user and a path",
    "port above all ports",
    "port of six digits",
    "port that is no number",
    "method of WebDAV",
    "nothing before chunked",
    "two codings before chunked",
    "coding before chunked",
    "coding before chunked in a field of its own",
    "coding that is not a token",
    "coding with a parameter",
    "coding in HTTP/1.0",
    "star for GET",
    "fragment in the target",
    "a scheme that is not http",
}


@pytest.mark.parametrize("name", sorted(LENIENT))
def test_what_llhttp_lets_pass_the_grammar_does_not(name: str) -> None:
    """The list in `head`, Rule 2: a new llhttp that is stricter, or a grammar that is not, shows here."""
    sent, _ = HEADS[name]
    httptools.HttpRequestParser(object()).feed_data(sent)
    with pytest.raises(Rejected):
        parse_head(sent[: sent.index(b"\r\n\r\n") + 4], Limits())


# llhttp knows no such bound, leaves the field to the app, or has not seen the end of the head.
NOT_ITS_BUSINESS = {
    "head too large",
    "too many fields",
    "half as many fields again",
    "target too long",
    "a target of 12 KiB",
    "unknown expectation",
    "unknown expectation of a request without a body",
}
UNFINISHED = {
    "endless head",
    "endless target",
    "binary",
    "TLS on the cleartext port",
    "bare LF throughout",
    "HTTP/2 with prior knowledge",
}
HOST_ONLY = {"a user in an absolute target", "host that is not ASCII"}


def test_the_list_of_what_llhttp_lets_pass_is_complete() -> None:
    accepted = set()
    for name, (sent, _) in HEADS.items():
        try:
            httptools.HttpRequestParser(object()).feed_data(sent[: sent.find(b"\r\n\r\n") + 4])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            continue
        accepted.add(name)
    assert accepted - NOT_ITS_BUSINESS - UNFINISHED - HOST_ONLY == LENIENT


async def test_two_hundred_hostile_connections_cost_a_bystander_nothing() -> None:
    """G10, on real sockets: every kind at once, while the bystander is answered on time."""
    async with on_socket(Echo()) as world:

        async def attack(sent: bytes, status: int) -> None:
            client = await world.connect()
            await client.send(sent)
            got, _, _ = await client.answer()
            assert got == status
            await client.stream.aclose()

        async with bystander_of_this_thread(f"http://127.0.0.1:{world.port}", every_s=0.01) as seen:
            async with trio.open_nursery() as nursery:
                for sent, status in [*HEADS.values(), *HEADS.values()]:
                    nursery.start_soon(attack, sent, status)
            await world.settled(seen.plan.threads)
        seen.assert_unharmed()
        await world.settled(0)
        assert world.crashes == []
        assert world.driver.statistics().malformed == 2 * len(HEADS)


async def test_a_short_body_is_not_the_next_request(autojump_clock: MockClock) -> None:
    """The bytes that a length announces are a body, whatever they look like."""
    async with in_memory(read_whole_body) as world:
        client = world.connect()
        inner = get("/smuggled")
        await client.send(POST + b"Content-Length: %d\r\n\r\n" % len(inner) + inner + get("/next"))
        assert (await client.answer())[2] == (await client.answer())[2] == b"read"
        await trio.testing.wait_all_tasks_blocked()
        assert world.driver.statistics().requests == 2


async def test_behind_a_chunked_body_nothing_is_read_as_a_request(autojump_clock: MockClock) -> None:
    app = Echo()
    async with in_memory(app) as world:
        client = world.connect()
        chunked = b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
        _, fields, _ = await client.ask(POST + chunked + get("/smuggled"))
        await client.stream.send_eof()
        assert await client.closed()
    assert fields["connection"] == "close"
    assert len(app.scopes) == 1


async def test_an_upgrade_to_h2c_is_ignored_and_is_the_last_request(autojump_clock: MockClock) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    async with in_memory(Echo()) as world:
        client = world.connect()
        status, fields, _ = await client.ask(GET + upgrade)
        assert await client.closed()
    assert (status, fields["connection"]) == (200, "close")


@pytest.mark.parametrize("pieces", [[], [b"\r\n"], [b"\r"], [b"\r", b"\n"], [b"\r", b"\nG", b"ET"]])
async def test_a_line_of_its_own_before_a_request_is_passed_over_however_it_comes(
    pieces: list[bytes], autojump_clock: MockClock
) -> None:
    """RFC 9112 2.2. One line, also cut between its two bytes."""
    whole = b"\r\n" + get()
    async with in_memory(Echo()) as world:
        client = world.connect()
        for piece in pieces:
            await client.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        assert (await client.ask(whole[sum(map(len, pieces)) :]))[0] == 200


@pytest.mark.parametrize(
    "pieces", [[b"\r", b"\r\n"], [b"\r\n", b"\r", b"\n"], [b"\r\n\r\n"], [b"\n"], [b"\r", b"x"]]
)
async def test_more_than_one_line_or_another_one_is_not(
    pieces: list[bytes], autojump_clock: MockClock
) -> None:
    async with in_memory(Echo()) as world:
        client = world.connect()
        for piece in pieces:
            await client.send(piece)
            await trio.testing.wait_all_tasks_blocked()
        assert (await client.ask(get()))[0] == 400


@pytest.mark.parametrize(("status", "phrase"), [(413, b"Content Too Large"), (414, b"URI Too Long")])
def test_reason_phrases_are_those_of_rfc_9110(status: int, phrase: bytes) -> None:
    """On every Python."""
    assert head_bytes(status, ()) == b"HTTP/1.1 %d %b\r\n\r\n" % (status, phrase)
