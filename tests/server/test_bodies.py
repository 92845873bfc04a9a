"""Request bodies: with back-pressure, or not wanted."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from fanout.server.asgi import Message, Receive, Scope, Send
from fanout.server.limits import Limits
from tests.server.apps import answer
from tests.server.serving import get, in_memory, on_socket


class Bodies:
    """Reads the whole body and answers with its size; keeps the sizes of its pieces."""

    def __init__(self) -> None:
        self.pieces: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = {"more_body": True}
        while message["more_body"]:
            message = await receive()
            self.pieces.append(len(message["body"]))
        await answer(send, b"%d" % sum(self.pieces))


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_comes_piece_by_piece_and_not_before_it_is_asked_for(
    chunked: bool, autojump_clock: MockClock
) -> None:
    app = Bodies()
    async with in_memory(app) as world:
        client = world.connect(lockstep=True)  # a write waits until it is read: nothing hides in a buffer
        data = b"x" * 200_000
        if chunked:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            await client.send(b"%x\r\n" % len(data) + data + b"\r\n0\r\n\r\n")
        else:
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(data))
            await client.send(data)
        status, fields, body = await client.answer()
        assert (status, body) == (200, b"200000")
        assert fields.get("connection") == ("close" if chunked else None)
        if not chunked:
            assert (await client.ask(get()))[0] == 200
    assert max(app.pieces) <= 64 * 1024


async def test_expect_100_continue_is_answered_when_the_app_wants_the_body(autojump_clock: MockClock) -> None:
    async with in_memory(Bodies()) as world:
        client = world.connect()
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await client.answer(head_only=True))[0] == 100
        assert (await client.ask(b"ab"))[2] == b"2"


async def test_expect_100_continue_is_not_answered_when_the_app_refuses_the_body(
    autojump_clock: MockClock,
) -> None:
    """The final answer comes at once, and the connection closes: the body may or may not follow."""

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 413)

    async with in_memory(refusing) as world:
        client = world.connect()
        head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 20000000\r\n\r\n"
        status, fields, _ = await client.ask(head)
        assert (status, fields["connection"]) == (413, "close")


async def test_an_answer_before_the_body_is_not_lost_to_a_reset() -> None:
    """On a real socket the unread body would turn the close into an RST that overtakes the answer."""

    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 413)

    limits = Limits(linger_max_bytes=10_000_000)
    async with on_socket(refusing, limits) as world:
        for _ in range(20):
            client = await world.connect()
            await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n")
            await client.send(b"x" * 4_000_000)
            assert (await client.answer())[0] == 413
            await client.stream.aclose()
        await world.settled()
    assert world.ended == {"answered": 20}
