"""What an app receives by ASGI's specification, and what the server never sends for it. Over HTTP/1 and 2."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import h2.events
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fanout.server.asgi import ANSWER, App, Message, Receive, Scope, Send
from tests.server.apps import answer
from tests.server.http2 import Http2World, http2_in_memory, request
from tests.server.serving import Client, MemoryWorld, get, in_memory

PROTOCOLS = ("http1", "http2")
DISCONNECT = {"type": "http.disconnect"}
Sent = tuple[int, list[tuple[str, str]], bytes]


@asynccontextmanager
async def serving(protocol: str, app: App) -> AsyncIterator[MemoryWorld | Http2World]:
    if protocol == "http1":
        async with in_memory(app) as world:
            yield world
    else:
        async with http2_in_memory(app) as over_http2:
            yield over_http2


async def ask(world: MemoryWorld | Http2World, method: str = "GET", body: bytes = b"") -> Sent:
    """Status, fields with lower-case names, and body of the answer to one request on a new connection."""
    if isinstance(world, MemoryWorld):
        client = world.connect()
        fields = ("Connection: close", f"Content-Length: {len(body)}")
        await client.send(get("/", *fields).replace(b"GET", method.encode(), 1) + body)
        head, _, content = (await client.rest()).partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        pairs = [(name.lower(), value.strip()) for name, _, value in (text.partition(":") for text in lines)]
        return int(line.split()[1]), [pair for pair in pairs if pair != ("connection", "close")], content
    over_http2 = world.connect()
    await over_http2.send(request(method=method.encode()), end=not body)
    if body:
        over_http2.connection.send_data(1, body, end_stream=True)
        await over_http2.flush()
    got = (await over_http2.next(h2.events.ResponseReceived)).headers
    content = b""
    while True:
        event = await over_http2.next(h2.events.Event)
        if isinstance(event, h2.events.DataReceived):
            content += event.data
        elif isinstance(event, h2.events.StreamEnded):
            return (
                int(dict(got)[b":status"]),
                [(n.decode(), v.decode("latin-1")) for n, v in got if n != b":status"],
                content,
            )


# `receive` behind the answer


@pytest.mark.parametrize("body", [b"", b"a body"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_receive_after_the_answer_is_a_disconnect(
    protocol: str, body: bytes, autojump_clock: MockClock
) -> None:
    """ASGI, `http.disconnect`: sent "if receive is called after a response has been sent". Each time at once,
    and also if the body was not received."""
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"ok")
        for _ in range(3):
            received.append(await receive())

    async with serving(protocol, app) as world:
        assert (await ask(world, "POST", body))[0] == 200
        await wait_all_tasks_blocked()
        assert received == [DISCONNECT] * 3
        assert world.crashes == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_receive_that_waits_ends_with_the_answer(protocol: str, autojump_clock: MockClock) -> None:
    """An app that runs until it receives `http.disconnect` ends with its answer."""
    received: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            while not received or received[-1] != DISCONNECT:
                received.append(await receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.sleep(1)
            assert received == [{"type": "http.request", "body": b"", "more_body": False}]
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"o", "more_body": True})
            await trio.sleep(1)
            assert received[1:] == []
            await send({"type": "http.response.body", "body": b"k"})

    async with serving(protocol, app) as world:
        began = trio.current_time()
        assert (await ask(world))[2].endswith((b"ok", b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"))
        assert trio.current_time() == began + 2
        await wait_all_tasks_blocked()
        assert received[1:] == [DISCONNECT]
        assert world.crashes == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_app_that_only_asks_whether_its_client_is_there_lets_others_run(
    protocol: str, autojump_clock: MockClock
) -> None:
    """G10: `receive` behind the answer is a checkpoint."""
    is_answered, asked = False, 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal asked
        await answer(send, b"ok")
        while not is_answered and asked < 10_000:
            await receive()
            asked += 1

    async with serving(protocol, app) as world:
        client = world.connect()
        if isinstance(client, Client):
            await client.ask(get())
        else:
            await client.send(request())
            await client.ended()
        is_answered = True
    assert asked < 100


# What an app must not send is its bug, and is never sent


def starting(status: int, *fields: tuple[bytes, bytes], body: bytes = b"ok") -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(fields)})
        await send({"type": "http.response.body", "body": body})

    return app


def at_once(status: int, *fields: tuple[bytes, bytes], body: bytes = b"ok") -> App:
    """As `starting`, by the message of our own framework."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": ANSWER, "status": status, "headers": list(fields), "body": body})

    return app


BUGS: dict[str, tuple[int, list[tuple[bytes, bytes]]]] = {
    "an empty name": (200, [(b"", b"x")]),
    "a space in a name": (200, [(b"x y", b"z")]),
    "a space behind a name": (200, [(b"x ", b"z")]),
    "a colon in a name": (200, [(b"x: y", b"z")]),
    "a pseudo-header field": (200, [(b":status", b"404")]),
    "a name in upper case": (200, [(b"X-Y", b"z")]),
    "a length in upper case": (200, [(b"Content-Length", b"99")]),
    "a name that is not ASCII": (200, [(b"\xe9", b"z")]),
    "a separator in a name": (200, [(b"x(y)", b"z")]),
    "a NUL in a name": (200, [(b"x\0", b"z")]),
    "a line break in a name": (200, [(b"x\r\ny", b"z")]),
    "a line break in a value": (200, [(b"x", b"y\r\nz: a")]),
    "a line feed in a value": (200, [(b"x", b"y\nz: a")]),
    "a carriage return in a value": (200, [(b"x", b"y\rz: a")]),
    "a NUL in a value": (200, [(b"x", b"y\0")]),
    "a length that is no number": (200, [(b"content-length", b"two")]),
    "a signed length": (200, [(b"content-length", b"+2")]),
    "a length with a space": (200, [(b"content-length", b" 2")]),
    "a length with an underscore": (200, [(b"content-length", b"0_2")]),
    "an empty length": (200, [(b"content-length", b"")]),
    "two lengths": (200, [(b"content-length", b"2"), (b"content-length", b"2")]),
    "a length that is too large": (200, [(b"content-length", b"3")]),
    "a length that is too small": (200, [(b"content-length", b"1")]),
    "an interim status": (103, []),
    "a switch of protocols": (101, []),
    "a status of two digits": (99, []),
    "a status of four digits": (2000, []),
    "a status that is no class": (600, []),
}


@pytest.mark.parametrize("make", [starting, at_once])
@pytest.mark.parametrize("name", BUGS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_illegal_answer_is_a_reported_bug_and_a_500(
    protocol: str, name: str, make: Callable[..., App], autojump_clock: MockClock
) -> None:
    """G11, RFC 9110 5.1, 5.5, 8.6 and 15, RFC 9113 8.2.1: nothing of it is sent."""
    status, fields = BUGS[name]
    async with serving(protocol, make(status, *fields)) as world:
        sent_status, sent_fields, body = await ask(world)
        assert sent_status == 500
        assert dict(sent_fields)["content-type"] == "application/problem+json"
        assert dict(sent_fields)["content-length"] == str(len(body))
        assert len(world.crashes) == 1
        assert isinstance(world.crashes[0], (ValueError, RuntimeError))
        assert world.driver.statistics().crashes == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_many_names_are_not_kept(protocol: str, autojump_clock: MockClock) -> None:
    """G10: an app that invents names does not fill the memory, and each of them is checked."""
    from fanout.server import answer as answers

    fields = [(b"x-%d" % n, b"y") for n in range(3000)]
    async with serving(protocol, starting(200, *fields)) as world:
        if isinstance(world, MemoryWorld):
            assert len((await ask(world))[1]) >= 3000
        else:
            client = world.connect()
            await client.send(request())
            await trio.testing.wait_all_tasks_blocked()
    assert len(answers.CHECKED_NAMES) <= answers.MAX_CHECKED_NAMES
    assert world.crashes == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_fields_that_the_server_writes_are_written_once(
    protocol: str, autojump_clock: MockClock
) -> None:
    """RFC 9110 5.3, 6.6.1: an app's own Date counts. RFC 9112 6.1, RFC 9113 8.2.2: its framing does not."""
    fields = [(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"), (b"transfer-encoding", b"chunked")]
    async with serving(protocol, starting(200, *fields)) as world:
        _, sent, body = await ask(world)
        assert [value for name, value in sent if name == "date"] == ["Sun, 06 Nov 1994 08:49:37 GMT"]
        assert "transfer-encoding" not in dict(sent)
        assert body == b"ok"
        assert world.crashes == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_answer_without_content_has_no_length(protocol: str, autojump_clock: MockClock) -> None:
    """RFC 9110 8.6: a server MUST NOT send Content-Length in any response with a status code of 204."""
    async with serving(protocol, starting(204, (b"content-length", b"0"), body=b"")) as world:
        status, sent, body = await ask(world)
        assert (status, body) == (204, b"")
        assert "content-length" not in dict(sent)
        assert world.crashes == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_space_around_a_value_is_not_part_of_it(protocol: str, autojump_clock: MockClock) -> None:
    """RFC 9113 8.2.1: a field value MUST NOT start or end with whitespace."""
    async with serving(protocol, starting(200, (b"x", b" \ty z\t "))) as world:
        _, sent, _ = await ask(world)
        assert dict(sent)["x"] == "y z"
        assert world.crashes == []
