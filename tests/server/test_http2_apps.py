"""An app over HTTP/2: what it receives and sends, and what of it reaches the client. G1, G6, G10, G11."""

from __future__ import annotations

import h2.events
import pytest
import trio
import trio.testing
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from trio.testing import MockClock

from fanout.server.asgi import ARRIVAL_KEY, CLIENT_KEY, Message, Receive, Scope, Send
from fanout.server.connection import DISCONNECT
from fanout.server.http2_write import Stream, Writer
from tests.server.apps import Echo, answer
from tests.server.http2 import H2Client, Http2World, http2_in_memory, request
from tests.server.http2_hostile import get
from tests.server.serving import in_memory
from tests.server.test_http2_answers import body_of

START = {"type": "http.response.start", "status": 200, "headers": []}
NO_WINDOW: dict[SettingCodes | int, int] = {SettingCodes.INITIAL_WINDOW_SIZE: 0}


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def starting(*given: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(given)}


async def test_a_head_that_http2_does_not_allow_is_a_500_and_costs_no_other_request(
    autojump_clock: MockClock,
) -> None:
    """G11. h2 would raise it in the middle, and take the head for sent."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/odd":
            await send(starting((b"te", b"gzip")))
            await send(part(b"", more=False))
        else:
            await trio.sleep(1)
            await answer(send, b"fine")

    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(request(), stream_id=1)
        await client.send(request(b"/odd"), stream_id=3)
        assert await client.status() == b"500"
        assert await client.ended() == 3
        assert await client.status() == b"200"
        assert await client.ended() == 1
        assert len(world.crashes) == 1


async def test_no_memory_for_a_head_is_a_whole_500(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G11. What the app had to send is not part of it."""
    send_head = Writer.send_head
    failed: list[Stream] = []

    def fail_once(writer: Writer, stream: Stream, fields: list[tuple[bytes, bytes]]) -> None:
        if not failed:
            failed.append(stream)
            raise MemoryError
        send_head(writer, stream, fields)

    monkeypatch.setattr(Writer, "send_head", fail_once)
    async with http2_in_memory(Echo()) as world:
        client = world.connect()
        await client.send(request())
        response = await client.next(h2.events.ResponseReceived)
        body = await body_of(client)
        fields = dict(response.headers)
        assert (fields[b":status"], int(fields[b"content-length"])) == (b"500", len(body))
        assert len(world.crashes) == 1


async def test_an_app_knows_when_the_head_of_its_request_was_complete(autojump_clock: MockClock) -> None:
    app = Echo()
    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.flush()
        await trio.sleep(3)
        await client.send(request())
        await client.ended()
    assert app.scopes[0][ARRIVAL_KEY] == 3


@pytest.mark.parametrize("how", ["reset", "goodbye", "closed"])
async def test_an_app_knows_why_it_is_cancelled_and_since_when_its_client_is_gone(
    how: str, autojump_clock: MockClock
) -> None:
    """G6: its receipt says so."""
    told = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            told.append((cancelled.reason, scope[CLIENT_KEY].left_at))
            raise

    async with http2_in_memory(app) as world:
        clients = [world.connect() for _ in range(8)]
        for client in clients:
            await client.send(request())
        await trio.sleep(3)
        for client in clients:
            if how == "reset":
                client.connection.reset_stream(1)
            elif how == "goodbye":
                client.connection.close_connection()
            await client.flush()
            if how == "closed":
                await client.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert told == [(DISCONNECT, 3)] * 8


async def test_an_app_receives_what_has_come_before_all_has(autojump_clock: MockClock) -> None:
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            received.append((message["body"], more := message["more_body"]))
        await answer(send, b"")

    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(request(method=b"POST"), end=False)
        for piece in (b"a", b"b"):
            client.connection.send_data(1, piece)
            await client.flush()
            await trio.testing.wait_all_tasks_blocked()
        assert received == [(b"a", True), (b"b", True)]
        client.connection.end_stream(1)
        await client.flush()
        await client.ended()
    assert received[2:] == [(b"", False)]


async def test_to_receive_and_to_send_are_checkpoints_in_a_cancelled_scope(autojump_clock: MockClock) -> None:
    """As over HTTP/1.1: an app that is cancelled goes on with neither."""
    caught = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with trio.CancelScope() as receiving:
            receiving.cancel()
            await receive()
        with trio.CancelScope() as sending:
            sending.cancel()
            await send(starting(status=404))
        caught.extend([receiving.cancelled_caught, sending.cancelled_caught])
        assert (await receive())["body"] == b"x"
        await answer(send, b"")

    async with http2_in_memory(app) as world:
        client = world.connect()
        client.connection.send_headers(1, request(method=b"POST"))
        client.connection.send_data(1, b"x", end_stream=True)
        await client.flush()
        assert await client.status() == b"200"
    assert caught == [True, True]
    assert world.crashes == []


async def test_to_receive_behind_the_answer_is_a_checkpoint(autojump_clock: MockClock) -> None:
    """An app that asks again and again whether its client is there lets the other tasks run."""
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"")
        with trio.testing.assert_checkpoints():
            received.append(await receive())

    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(request())
        await client.ended()
        await trio.testing.wait_all_tasks_blocked()
    assert received == [{"type": "http.disconnect"}]
    assert world.crashes == []


async def test_a_client_is_told_to_continue_when_its_body_is_wanted_and_once(
    autojump_clock: MockClock,
) -> None:
    """RFC 9110 10.1.1. An app may give up waiting, and ask again."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(1)
        with trio.move_on_after(1):
            await receive()
        await answer(send, (await receive())["body"])

    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(get((b"expect", b"100-continue"), method=b"POST"), end=False)
        await client.next(h2.events.InformationalResponseReceived)
        assert trio.current_time() == 1
        with trio.move_on_after(5) as waiting:
            await client.next(h2.events.InformationalResponseReceived)
        assert waiting.cancelled_caught
        client.connection.send_data(1, b"a body", end_stream=True)
        await client.flush()
        assert await body_of(client) == b"a body"


@pytest.mark.parametrize(
    ("method", "status", "has_body"),
    [(b"GET", 200, True), (b"HEAD", 200, False), (b"GET", 204, False), (b"GET", 304, False)],
)
async def test_an_answer_without_content_has_none_whatever_the_app_sends(
    method: bytes, status: int, has_body: bool, autojump_clock: MockClock
) -> None:
    """RFC 9110 9.3.2, 15.3.5 and 15.4.5. Any answer has a date."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(starting(status=status))
        await send(part(b"a body", more=False))

    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(request(method=method))
        answered = await client.next(h2.events.ResponseReceived)
        assert dict(answered.headers)[b"date"] == b"Mon, 23 Nov 2026 12:00:00 GMT"
        assert await body_of(client) == (b"a body" if has_body else b"")
    assert world.crashes == []


async def test_a_body_may_come_in_parts_that_make_its_length(autojump_clock: MockClock) -> None:
    """And in messages that say no more than their type."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(starting((b"content-length", b"6")))
        await send(part(b"abc"))
        await send(part(b"def"))
        await send({"type": "http.response.body"})

    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(request())
        assert await body_of(client) == b"abcdef"
    assert world.crashes == []


@pytest.mark.parametrize("second", [b"de", b"defg"])
async def test_parts_that_do_not_make_their_length_are_a_bug(
    second: bytes, autojump_clock: MockClock
) -> None:
    """G11: the first part is sent, so the stream is reset."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(starting((b"content-length", b"6")))
        await send(part(b"abc"))
        await send(part(second, more=False))

    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(request())
        assert await client.reset() == ErrorCodes.INTERNAL_ERROR
    assert [type(crash) for crash in world.crashes] == [RuntimeError]


async def test_a_stream_without_a_window_holds_no_other(autojump_clock: MockClock) -> None:
    """Although its part was there first."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 1000)

    async with http2_in_memory(app) as world:
        client, began = world.connect(), trio.current_time()
        client.connection.update_settings(NO_WINDOW)
        await client.send(request())
        await client.status()
        client.connection.send_headers(3, request(), end_stream=True)
        client.connection.increment_flow_control_window(1000, 3)
        await client.flush()
        assert await client.ended() == 3
        assert trio.current_time() == began


async def until_each_ends(clients: list[H2Client], stream_id: int) -> None:
    for client in clients:
        assert await client.ended() == stream_id


async def waiting_for_a_window(world: Http2World) -> list[H2Client]:
    """Ten, because in which order Trio runs the tasks of an iteration is random."""
    clients = [world.connect() for _ in range(10)]
    for client in clients:
        client.connection.update_settings(NO_WINDOW)
        await client.send(request())
        await client.status()
    return clients


async def test_a_stream_that_is_taken_back_is_not_written_to(autojump_clock: MockClock) -> None:
    """Not even when another answer is ready at the same moment: h2 would raise, as if that were a bug."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"" if scope["path"] == "/empty" else b"x")

    async with http2_in_memory(app) as world:
        clients = await waiting_for_a_window(world)
        for client in clients:
            client.connection.reset_stream(1)
            client.connection.send_headers(3, request(b"/empty"), end_stream=True)
            await client.flush()
        await until_each_ends(clients, 3)
    assert world.crashes == []


async def test_what_an_app_leaves_unsent_is_not_written(autojump_clock: MockClock) -> None:
    """G11: it gives up on a part of its answer and returns. Its stream is reset, and its connection stays."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/empty":
            await answer(send, b"")
            return
        await send(START)
        with trio.move_on_after(1):
            await send(part(b"x"))

    async with http2_in_memory(app) as world:
        [client, *_] = await waiting_for_a_window(world)
        assert await client.reset() == ErrorCodes.INTERNAL_ERROR
        await client.send(request(b"/empty"), stream_id=3)
        await until_each_ends([client], 3)
    assert [str(crash) for crash in world.crashes] == ["the app returned without a complete answer"] * 10


async def test_a_request_that_is_reset_in_the_same_bytes_reaches_no_app(autojump_clock: MockClock) -> None:
    app = Echo()
    async with http2_in_memory(app) as world:
        client = world.connect()
        for stream_id in (1, 3, 5):
            client.connection.send_headers(stream_id, request(), end_stream=True)
            client.connection.reset_stream(stream_id)
        client.connection.send_headers(7, request(), end_stream=True)
        await client.flush()
        assert await client.ended() == 7
        assert len(app.scopes) == world.driver.requests == 1
    assert world.crashes == []


async def test_a_request_that_comes_in_a_shutdown_reaches_no_app_and_may_be_repeated(
    autojump_clock: MockClock,
) -> None:
    """G9, RFC 9113 8.7. Also when the server would shed it."""
    app = Echo(slow_s=5)
    async with http2_in_memory(app) as world:
        client = world.connect()
        await client.send(request(b"/slow"))
        await trio.testing.wait_all_tasks_blocked()
        world.driver.drain()
        await client.send(request(), stream_id=3)
        assert await client.reset() == ErrorCodes.REFUSED_STREAM
        assert await client.ended() == 1
        assert len(app.scopes) == world.driver.requests == 1
    assert world.crashes == []


async def test_a_rejection_over_http_2_has_its_body_as_it_is(autojump_clock: MockClock) -> None:
    """Also one with an empty line in it, which ends the head of HTTP/1.1."""
    body = b"busy\r\n\r\nas ever"
    busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with in_memory(Echo(), refuse=lambda _: busy) as world:
        client = Http2World(world).connect()
        await client.send(request())
        assert await client.status() == b"503"
        assert await body_of(client) == body
