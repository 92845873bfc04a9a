"""Heads and bodies of HTTP/1, in whatever pieces they come."""

from __future__ import annotations

from math import inf

import httptools
import pytest
import trio
from trio.testing import MockClock

from fanout.server import rejections
from fanout.server.connection import Connection, State
from fanout.server.head import CHUNKED
from fanout.server.http1_reader import Reader
from fanout.server.limits import Limits
from fanout.server.rejections import Rejected
from fanout.server.timeouts import Timeouts
from tests.server.recorded import Recorded

LIMITS = Limits(head_timeout_s=10)
HEAD = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def reader_of(*arriving: bytes | Exception, limits: Limits = LIMITS) -> tuple[Reader, Connection]:
    connection = Connection(Timeouts(limits), Recorded(*arriving))
    return Reader(connection), connection


async def reading(data: bytes, *arriving: bytes | Exception) -> Reader:
    """A reader that has read the head which `data` begins with."""
    reader, _ = reader_of(*arriving)
    assert await reader.read_head(data) is not None
    return reader


async def body_of(reader: Reader) -> list[bytes]:
    pieces = []
    while not reader.ended:
        pieces.append(await reader.read_body())
    return pieces


async def test_a_head_in_one_piece_needs_no_deadline(autojump_clock: MockClock) -> None:
    reader, connection = reader_of()
    assert (reader.ahead, reader.ended, reader.has_bytes()) == (b"", True, False)
    head = await reader.read_head(HEAD + b"behind")
    assert head is not None
    assert (head.path, reader.ahead, reader.ended) == ("/x", b"behind", True)
    assert reader.has_bytes()
    assert (connection.state, connection.scope.deadline) == (State.BUSY, inf)


async def test_a_head_that_begins_with_its_end_is_refused_at_once() -> None:
    """One extra line is passed over; two more are the end of a head that has no first line."""
    reader, _ = reader_of(b"\r\n")
    with pytest.raises(Rejected):
        await reader.read_head(b"\r\n\r\n")


@pytest.mark.parametrize("at", range(1, len(HEAD) + 2))
async def test_a_head_in_two_pieces_is_the_same_head(autojump_clock: MockClock, at: int) -> None:
    """Behind it comes the next one, and before it the extra line that some clients send: RFC 9112 2.2."""
    data = b"\r\n" + HEAD
    reader, connection = reader_of(data[at:] + HEAD)
    head = await reader.read_head(data[:at])
    assert head is not None
    assert (head.path, reader.ahead) == ("/x", HEAD)
    assert (connection.state, connection.scope.deadline) == (State.HEAD, 10)


async def test_a_head_byte_by_byte_is_the_same_head(autojump_clock: MockClock) -> None:
    reader, _ = reader_of(*(bytes([byte]) for byte in b"\n" + HEAD + b"b"))
    head = await reader.read_head(b"\r")
    assert head is not None
    assert (head.path, reader.ahead) == ("/x", b"")


@pytest.mark.parametrize("first", [b"\r\n\r\n\r\n", b"\r\n\r\n" + HEAD])
async def test_one_extra_line_is_passed_over_and_no_second(autojump_clock: MockClock, first: bytes) -> None:
    reader, _ = reader_of()
    with pytest.raises(Rejected):
        await reader.read_head(first)


async def test_in_pieces_a_second_extra_line_is_not_passed_over_either(autojump_clock: MockClock) -> None:
    reader, _ = reader_of(b"\n", b"\r", b"\n" + HEAD)
    with pytest.raises(Rejected):
        await reader.read_head(b"\r")


@pytest.mark.parametrize("at", range(2, len(HEAD) - 3))
async def test_what_can_become_no_head_is_refused_at_once(autojump_clock: MockClock, at: int) -> None:
    """Wherever it is, and wherever the pieces are cut: nothing more is waited for."""
    for cut in range(1, at + 1):
        bad = HEAD[:at] + b"\x00"
        reader, connection = reader_of(bad[cut:])
        with pytest.raises(Rejected) as caught:
            await reader.read_head(bad[:cut])
        assert caught.value.rejection.status == 400
        assert not connection.transport.has_bytes()


async def test_a_cr_and_its_lf_may_come_apart_and_nothing_between_them(autojump_clock: MockClock) -> None:
    reader, _ = reader_of(b"X")
    with pytest.raises(Rejected):
        await reader.read_head(b"GET / HTTP/1.1\r")


async def test_a_client_that_leaves_within_a_head_has_none(autojump_clock: MockClock) -> None:
    reader, _ = reader_of(b"x HTTP")
    assert await reader.read_head(b"GET /") is None


async def test_a_method_that_nobody_knows(autojump_clock: MockClock) -> None:
    reader, _ = reader_of()
    with pytest.raises(Rejected) as caught:
        await reader.read_head(b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert caught.value.rejection is rejections.METHOD_NOT_IMPLEMENTED


class Llhttp:
    """The second opinion, from a script: what is raised, and what the callbacks hear."""

    def __init__(self, raised: Exception | None, *callbacks: str) -> None:
        self._raised = raised
        self._callbacks = callbacks

    def __call__(self, events: object) -> Llhttp:
        self._events = events
        return self

    def feed_data(self, data: bytes) -> None:
        for callback in self._callbacks:
            getattr(self._events, callback)()
        if self._raised is not None:
            raise self._raised


HEARD = ("on_headers_complete", "on_message_complete")


@pytest.mark.parametrize(
    ("llhttp", "status"),
    [
        (Llhttp(None, *HEARD), None),
        (Llhttp(httptools.HttpParserUpgrade(), *HEARD), None),  # nothing is read behind it
        (Llhttp(httptools.HttpParserInvalidMethodError()), 501),
        (Llhttp(httptools.HttpParserError()), 400),
        (Llhttp(None), 400),
        (Llhttp(None, "on_message_complete"), 400),  # it ended, and had no head
        (Llhttp(None, "on_headers_complete"), 400),  # it saw a body
    ],
)
async def test_both_parsers_must_agree_on_a_head(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, llhttp: Llhttp, status: int | None
) -> None:
    """Two that disagree are how a request is smuggled past one of them."""
    monkeypatch.setattr(httptools, "HttpRequestParser", llhttp)
    reader, _ = reader_of()
    if status is None:
        assert await reader.read_head(HEAD) is not None
    else:
        with pytest.raises(Rejected) as caught:
            await reader.read_head(HEAD)
        assert caught.value.rejection.status == status


@pytest.mark.parametrize("body", [False, True])
async def test_what_a_callback_raises_is_not_the_clients_mistake(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, body: bool
) -> None:
    failed = httptools.HttpParserCallbackError()
    failed.__context__ = MemoryError()
    alone = httptools.HttpParserCallbackError()
    for error, raised in ((failed, failed.__context__), (alone, alone)):
        monkeypatch.setattr(httptools, "HttpRequestParser", Llhttp(error))
        reader, _ = reader_of(b"body")
        with pytest.raises(type(raised)) as caught:
            await (reader.read_body() if body else reader.read_head(HEAD))
        assert caught.value is raised


async def test_a_body_is_as_long_as_its_head_says(autojump_clock: MockClock) -> None:
    reader = await reading(POST + b"Content-Length: 10\r\n\r\n123", b"45", b"6789", b"0" + HEAD)
    assert (reader.ended, reader.has_bytes()) == (False, True)
    assert await body_of(reader) == [b"123", b"45", b"6789", b"0"]
    assert reader.ahead == HEAD
    head = await reader.read_head(reader.ahead)
    assert head is not None
    assert head.path == "/x"


async def test_a_body_that_has_come_with_its_head(autojump_clock: MockClock) -> None:
    reader = await reading(POST + b"Content-Length: 3\r\n\r\n123" + HEAD)
    assert await body_of(reader) == [b"123"]
    assert reader.ahead == HEAD


async def test_the_chunks_of_one_piece_are_one_piece(autojump_clock: MockClock) -> None:
    reader = await reading(
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n2\r\nde\r\n",
        b"1\r\nf\r\n",
        b"0\r\n\r\nbehind",
    )
    assert await body_of(reader) == [b"abcde", b"f", b""]
    assert (reader.ahead, reader.ended) == (b"", True)


@pytest.mark.parametrize(
    "behind",
    [b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", HEAD[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"],
)
async def test_an_upgrade_behind_a_chunked_body_is_not_read(autojump_clock: MockClock, behind: bytes) -> None:
    """G11: llhttp reports it by an exception of its own. A client could have had a bug logged."""
    reader = await reading(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + behind)
    assert await body_of(reader) == [b"x"]
    assert (reader.ended, reader.ahead) == (True, b"")


async def test_pieces_without_a_byte_of_the_body_are_not_its_end(autojump_clock: MockClock) -> None:
    reader = await reading(
        POST + b"Transfer-Encoding: chunked\r\n\r\n", b"3", b"\r\n", b"abc", b"\r\n0\r\n\r\n"
    )
    assert await body_of(reader) == [b"abc", b""]


async def test_a_malformed_chunk_is_the_clients_mistake(autojump_clock: MockClock) -> None:
    reader = await reading(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n")
    with pytest.raises(Rejected) as caught:
        await reader.read_body()
    assert caught.value.rejection.reason == "malformed_request"


async def test_a_client_that_leaves_within_a_body(autojump_clock: MockClock) -> None:
    reader = await reading(POST + b"Content-Length: 10\r\n\r\n123")
    assert await reader.read_body() == b"123"
    with pytest.raises(trio.BrokenResourceError, match="the client disconnected"):
        await reader.read_body()


async def test_the_length_of_a_chunked_body_is_known_to_llhttp_alone(autojump_clock: MockClock) -> None:
    reader, _ = reader_of()
    head = await reader.read_head(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    assert head is not None
    assert (head.body_length, head.keep_alive, reader.ended) == (CHUNKED, False, False)
