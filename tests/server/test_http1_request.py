"""One request over HTTP/1 as its app has it: every byte of the answer, and what is received."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from fanout.server.answer import DateField
from fanout.server.connection import Connection, State
from fanout.server.http1_reader import Reader
from fanout.server.http1_request import Request
from fanout.server.limits import Limits
from fanout.server.statistics import End
from fanout.server.timeouts import Timeouts
from tests.server.recorded import Recorded
from tests.server.serving import NOON

LIMITS = Limits(body_timeout_s=12, write_timeout_s=20)
DATE = b"date: Mon, 23 Nov 2026 12:00:00 GMT\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


class Desk:
    """A request of which the head was read."""

    def __init__(self, transport: Recorded) -> None:
        self.timeouts: Timeouts[Connection] = Timeouts(LIMITS)
        self.transport = transport
        self.connection = Connection(self.timeouts, transport)
        self.request: Request

    @property
    def left_s(self) -> float:
        return self.connection.scope.deadline - trio.current_time()

    @property
    def sent(self) -> bytes:
        return b"".join(piece for piece in self.transport.done if isinstance(piece, bytes))

    async def start(self, *fields: tuple[bytes, bytes], status: int = 200) -> None:
        await self.request.send({"type": "http.response.start", "status": status, "headers": fields})

    async def body(self, body: bytes, **more: Any) -> None:
        await self.request.send({"type": "http.response.body", "body": body, **more})

    async def answer(self, body: bytes, *fields: tuple[bytes, bytes], status: int = 200) -> bytes:
        await self.start(*fields, status=status)
        await self.body(body)
        return self.sent


async def desk(head: bytes = GET, *arriving: bytes | Exception, transport: Recorded | None = None) -> Desk:
    await trio.sleep(100)
    here = Desk(transport or Recorded(*arriving))
    reader = Reader(here.connection)
    parsed = await reader.read_head(head if b"\r\n\r\n" in head else head + b"\r\n")
    assert parsed is not None
    here.connection.work()
    here.request = Request(here.connection, DateField(lambda: NOON), parsed, reader)
    return here


async def test_an_answer_of_known_length_is_complete_with_its_last_byte(autojump_clock: MockClock) -> None:
    here = await desk()
    await here.start((b"a", b"1"), (b"content-length", b"5"), (b"b", b"2"))
    assert (here.sent, here.request.started, here.request.complete) == (b"", False, False)
    await here.body(b"12", more_body=True)
    assert (here.request.started, here.request.complete) == (True, False)
    await here.body(b"345", more_body=True)
    assert here.request.complete
    assert here.request.keep_alive
    assert here.connection.state is State.ENDING
    assert here.transport.done == [
        b"HTTP/1.1 200 OK\r\na: 1\r\ncontent-length: 5\r\nb: 2\r\n" + DATE + b"\r\n12",
        b"345",
    ]
    await here.body(b"")
    assert len(here.transport.done) == 2
    with pytest.raises(RuntimeError, match="a body beyond its end"):
        await here.body(b"6")


async def test_an_answer_in_one_message_gets_its_length(autojump_clock: MockClock) -> None:
    here = await desk()
    assert await here.answer(b"12") == b"HTTP/1.1 200 OK\r\n" + DATE + b"content-length: 2\r\n\r\n12"
    assert (here.request.complete, here.request.keep_alive) == (True, True)


async def test_what_a_message_leaves_out(autojump_clock: MockClock) -> None:
    """Neither fields nor a body need be given: ASGI has defaults."""
    here = await desk()
    await here.request.send({"type": "http.response.start", "status": 200})
    await here.request.send({"type": "http.response.body"})
    assert here.sent == b"HTTP/1.1 200 OK\r\n" + DATE + b"content-length: 0\r\n\r\n"
    assert here.request.complete


async def test_an_answer_of_unknown_length_comes_in_chunks(autojump_clock: MockClock) -> None:
    here = await desk()
    await here.start()
    await here.body(b"12", more_body=True)
    await here.body(b"", more_body=True)
    assert not here.request.complete
    await here.body(b"345")
    assert here.transport.done == [
        b"HTTP/1.1 200 OK\r\n" + DATE + b"transfer-encoding: chunked\r\n\r\n2\r\n12\r\n",
        b"",
        b"3\r\n345\r\n0\r\n\r\n",
    ]
    assert (here.request.complete, here.request.keep_alive) == (True, True)
    with pytest.raises(RuntimeError):
        await here.body(b"6")


async def test_the_last_chunk_may_come_alone(autojump_clock: MockClock) -> None:
    here = await desk()
    await here.start()
    await here.body(b"1", more_body=True)
    await here.body(b"")
    assert here.transport.done[1:] == [b"0\r\n\r\n"]


async def test_in_http_1_0_an_answer_of_unknown_length_ends_with_the_connection(
    autojump_clock: MockClock,
) -> None:
    here = await desk(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n")
    await here.start()
    await here.body(b"12", more_body=True)
    assert not here.request.complete
    await here.body(b"345")
    assert here.transport.done == [b"HTTP/1.1 200 OK\r\n" + DATE + b"connection: close\r\n\r\n12", b"345"]
    assert (here.request.complete, here.request.keep_alive) == (True, False)


async def test_in_http_1_0_keeping_a_connection_is_said(autojump_clock: MockClock) -> None:
    here = await desk(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n")
    assert (await here.answer(b"")).endswith(b"content-length: 0\r\nconnection: keep-alive\r\n\r\n")


@pytest.mark.parametrize(("value", "keeps"), [(b" Close ", False), (b"keep-alive", True)])
async def test_the_fields_of_framing_are_the_drivers(
    autojump_clock: MockClock, value: bytes, keeps: bool
) -> None:
    """An app may ask for the connection's end; it cannot choose how an answer is framed."""
    here = await desk()
    await here.answer(b"1", (b"connection", value), (b"transfer-encoding", b"gzip"), (b"b", b"2"))
    closing = b"" if keeps else b"connection: close\r\n"
    assert here.sent == b"HTTP/1.1 200 OK\r\nb: 2\r\n" + DATE + b"content-length: 1\r\n" + closing + b"\r\n1"
    assert here.request.keep_alive is keeps


async def test_an_app_cannot_keep_a_connection_that_its_client_wants_closed(
    autojump_clock: MockClock,
) -> None:
    here = await desk(GET + b"Connection: close\r\n")
    await here.answer(b"1", (b"connection", b"keep-alive"))
    assert not here.request.keep_alive


@pytest.mark.parametrize("status", [204, 304])
async def test_some_statuses_have_no_body_and_no_length(autojump_clock: MockClock, status: int) -> None:
    here = await desk()
    sent = await here.answer(b"", status=status)
    assert sent.partition(b"\r\n")[2] == DATE + b"\r\n"
    assert here.request.complete


async def test_head_gets_the_length_and_no_body(autojump_clock: MockClock) -> None:
    here = await desk(b"HEAD / HTTP/1.1\r\nHost: a\r\n")
    await here.start((b"content-length", b"5"))
    await here.body(b"12", more_body=True)
    await here.body(b"345")
    assert here.sent == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n" + DATE + b"\r\n"
    assert here.request.complete


@pytest.mark.parametrize("length", range(5))
async def test_every_length_that_is_said_is_held_to(autojump_clock: MockClock, length: int) -> None:
    """Also those that are numbers of something else here."""
    here = await desk()
    await here.start((b"content-length", b"%d" % length))
    with pytest.raises(RuntimeError, match="the body ends -1 bytes from where"):
        await here.body(b"x" * (length + 1))


@pytest.mark.parametrize(("body", "left"), [(b"123456", -1), (b"123", 2)])
async def test_a_body_of_another_length_is_a_bug(autojump_clock: MockClock, body: bytes, left: int) -> None:
    here = await desk()
    await here.start((b"content-length", b"5"))
    with pytest.raises(RuntimeError, match=f"ends {left} bytes"):
        await here.body(body)
    assert (here.transport.done, here.request.started) == ([], False)


async def test_a_connection_that_must_not_be_kept_says_so(autojump_clock: MockClock) -> None:
    """The server shuts down, or a body was not read: what comes next would be taken for a request."""
    here = await desk()
    here.timeouts.closes_after_answer = True
    assert b"\r\nconnection: close\r\n\r\n" in await here.answer(b"")
    assert not here.request.keep_alive
    here = await desk(POST + b"Content-Length: 3\r\n")
    assert b"\r\nconnection: close\r\n\r\n" in await here.answer(b"")
    assert not here.request.keep_alive


async def test_a_request_without_a_body(autojump_clock: MockClock) -> None:
    here = await desk()
    assert await here.request.receive() == {"type": "http.request", "body": b"", "more_body": False}
    with trio.move_on_after(1000) as waiting:
        await here.request.receive()
    assert waiting.cancelled_caught


async def test_a_body_comes_in_pieces_until_its_end(autojump_clock: MockClock) -> None:
    here = await desk(POST + b"Content-Length: 5\r\n", b"12", b"345")
    assert await here.request.receive() == {"type": "http.request", "body": b"12", "more_body": True}
    assert here.left_s == inf  # what takes long now is the app
    assert await here.request.receive() == {"type": "http.request", "body": b"345", "more_body": False}
    with trio.move_on_after(1000) as waiting:
        await here.request.receive()
    assert waiting.cancelled_caught


async def test_after_the_answer_the_app_receives_a_disconnect_and_no_body(autojump_clock: MockClock) -> None:
    here = await desk(POST + b"Content-Length: 5\r\n", b"12345")
    await here.answer(b"")
    assert await here.request.receive() == {"type": "http.disconnect"}


class Slow(Recorded):
    """Each piece takes five seconds."""

    async def receive(self) -> bytes:
        await trio.sleep(5)
        return await super().receive()


async def test_all_of_a_body_has_one_deadline(autojump_clock: MockClock) -> None:
    here = await desk(POST + b"Content-Length: 5\r\n", transport=Slow(b"1", b"2", b"3"))
    with here.connection.scope:
        await here.request.receive()
        await here.request.receive()
        assert trio.current_time() == 110
        await here.request.receive()
    assert trio.current_time() == 112
    assert here.connection.too_slow() is End.SLOW_BODY


async def test_a_client_that_leaves_within_its_body_is_gone(autojump_clock: MockClock) -> None:
    here = await desk(POST + b"Content-Length: 5\r\n", b"12")
    await here.request.receive()
    assert await here.request.receive() == {"type": "http.disconnect"}
    assert here.request.client_left
    assert here.request.rejected is None


async def test_a_malformed_body_is_rejected(autojump_clock: MockClock) -> None:
    here = await desk(POST + b"Transfer-Encoding: chunked\r\n", b"zz\r\n")
    assert await here.request.receive() == {"type": "http.disconnect"}
    assert here.request.rejected is not None
    assert here.request.rejected.rejection.status == 400
    assert not here.request.client_left
    assert here.left_s == inf


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECTS = POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n"


async def test_a_client_that_waits_to_be_asked_is_asked_once(autojump_clock: MockClock) -> None:
    here = await desk(EXPECTS, b"1", b"2")
    await here.request.receive()
    await here.request.receive()
    assert here.transport.done == [CONTINUE]
    assert not here.request.started


async def test_a_client_that_did_not_wait_is_not_asked(autojump_clock: MockClock) -> None:
    here = await desk(EXPECTS + b"\r\n12")
    assert (await here.request.receive())["body"] == b"12"
    assert here.transport.done == []


async def test_a_client_that_has_an_answer_is_not_asked(autojump_clock: MockClock) -> None:
    here = await desk(EXPECTS, b"12")
    await here.start()
    await here.body(b"1", more_body=True)
    await here.request.receive()
    assert CONTINUE not in here.sent


async def test_an_answer_that_waits_is_cut_with_a_reset_if_it_is_cut(autojump_clock: MockClock) -> None:
    here = await desk(transport=Recorded(takes=False, flush_s=5))
    await here.start()
    with trio.move_on_after(2):
        await here.body(b"12")
    assert here.connection.reset
    here = await desk(transport=Recorded(takes=False, flush_s=5))
    await here.start()
    await here.body(b"12")
    assert not here.connection.reset
    assert here.connection.state is State.ENDING


async def test_to_write_to_a_client_that_is_gone_ends_the_app(autojump_clock: MockClock) -> None:
    """G6."""
    here = await desk()
    here.transport.is_broken = True
    with here.connection.scope:
        await here.answer(b"12")
        raise AssertionError("it goes on")
    assert here.connection.end is End.CLIENT_DISCONNECTED
    assert here.connection.scope.cancelled_caught


@pytest.mark.parametrize("sends", [False, True])
async def test_an_app_that_is_cancelled_neither_sends_nor_receives(
    autojump_clock: MockClock, sends: bool
) -> None:
    here = await desk()
    await here.start()
    with trio.CancelScope() as scope:
        scope.cancel()
        await (here.body(b"12") if sends else here.request.receive())
        raise AssertionError("it goes on")
    assert scope.cancelled_caught
    assert here.sent == b""


async def test_a_long_answer_lets_others_run(autojump_clock: MockClock) -> None:
    here = await desk()
    await here.start()
    sent: list[int] = []

    async def other() -> None:
        for _ in range(20):
            sent.append(len(here.transport.done))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(10):
            await here.body(b"1", more_body=True)
    assert len({*sent}) >= 4  # Trio draws who of the two runs first in an iteration, so some are missed


class Soon(Recorded):
    async def receive(self) -> bytes:
        await trio.sleep(0.3)
        return await super().receive()


async def test_the_end_of_an_answer_does_not_move_its_apps_deadline(autojump_clock: MockClock) -> None:
    """It answers while it reads: once the answer is complete, the deadline is for the app to return."""
    here = await desk(POST + b"Content-Length: 5\r\n", transport=Soon(b"12"))
    here.timeouts.draining = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.request.receive)
        await trio.sleep(0.1)
        assert here.left_s == pytest.approx(0.4)
        await here.answer(b"")
        assert here.left_s == pytest.approx(0.5)
        await trio.sleep(0.3)
        assert here.left_s == pytest.approx(0.2)
        nursery.cancel_scope.cancel()
