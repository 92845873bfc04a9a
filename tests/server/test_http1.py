"""HTTP/1.1 and 1.0 as they should be: framing, reuse, order, forms of the target."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.server.asgi import Receive, Scope, Send
from fanout.server.serve import Connections
from tests.server.apps import Echo
from tests.server.serving import Client, MemoryTransport, get, in_memory, on_socket


async def test_a_connection_is_used_again_and_again(autojump_clock: MockClock) -> None:
    async with in_memory(Echo()) as world:
        client = world.connect()
        for number in range(5):
            status, fields, body = await client.ask(get(f"/{number}?a={number}"))
            assert (status, body) == (200, f"GET /{number} a={number}".encode())
            assert "connection" not in fields
            assert fields["date"] == "Mon, 23 Nov 2026 12:00:00 GMT"
        await trio.testing.wait_all_tasks_blocked()
        assert (world.driver.statistics().waiting, world.driver.statistics().busy) == (1, 0)
        await client.stream.send_eof()
        await world.all_ended()
    assert world.ended == {"client_disconnected": 1}
    assert world.driver.statistics().requests == 5


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(autojump_clock: MockClock) -> None:
    app = Echo()
    async with in_memory(app) as world:
        client = world.connect()
        await client.send(get("/slow") + get("/2") + get("/3"))
        await trio.sleep(0.5)
        assert app.running == len(app.scopes) == 1
        bodies = [(await client.answer())[2] for _ in range(3)]
    assert bodies == [b"GET /slow", b"GET /2", b"GET /3"]


async def test_an_answer_is_one_write(autojump_clock: MockClock) -> None:
    """Also when the app sends head, body and an empty last part, as Quart does."""
    writes: list[bytes] = []

    class Recorded(MemoryTransport):
        def send_now(self, data: bytes) -> bool:
            writes.append(data)
            return super().send_now(data)

    async def in_three(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with in_memory(in_three) as world:
        theirs, ours = trio.testing.memory_stream_pair()
        world.nursery.start_soon(Connections(world.app, world.driver, {}).hold, Recorded(ours))
        assert (await Client(theirs).ask(get()))[2] == b"ok"
    assert len(writes) == 1


@pytest.mark.parametrize(
    ("version", "field", "said", "stays"),
    [
        ("1.1", "X: y", None, True),
        ("1.1", "Connection: close", "close", False),
        ("1.1", "Connection: x, Close", "close", False),
        ("1.1", "Proxy-Connection: close", "close", False),
        ("1.1", "Proxy-Connection: keep-alive", None, True),
        ("1.0", "Proxy-Connection: keep-alive", "close", False),
        ("1.0", "X: y", "close", False),
        ("1.0", "Connection: Keep-Alive", "keep-alive", True),
    ],
)
async def test_who_wants_the_connection_closed_gets_it_closed(
    version: str, field: str, said: str | None, stays: bool, autojump_clock: MockClock
) -> None:
    async with in_memory(Echo()) as world:
        client = world.connect()
        status, fields, _ = await client.ask(get("/", field, version=version))
        assert (status, fields.get("connection")) == (200, said)
        if stays:
            assert (await client.ask(get("/2")))[0] == 200
        else:
            assert await client.closed()
            await world.all_ended()
            assert world.ended == {"answered": 1}


async def test_the_app_may_close_the_connection(autojump_clock: MockClock) -> None:
    async def closing(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"no"})

    async with in_memory(closing) as world:
        client = world.connect()
        status, fields, body = await client.ask(get())
        assert await client.closed()
    assert (status, fields["connection"], body) == (503, "close", b"no")


async def test_head_has_the_length_and_no_body(autojump_clock: MockClock) -> None:
    async with in_memory(Echo()) as world:
        client = world.connect()
        await client.send(b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
        status, fields, _ = await client.answer(head_only=True)
        assert (status, fields["content-length"]) == (200, "7")
        assert (await client.ask(get("/next")))[2] == b"GET /next"


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_has_none(status: int, autojump_clock: MockClock) -> None:
    async def bodyless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with in_memory(bodyless) as world:
        client = world.connect()
        for _ in range(2):
            await client.send(get())
            got, fields, _ = await client.answer(head_only=True)
            assert (got, "content-length" in fields) == (status, False)


async def test_an_answer_of_unknown_length_is_chunked(autojump_clock: MockClock) -> None:
    async with in_memory(Echo()) as world:
        client = world.connect()
        await client.send(get("/stream", "Connection: close"))
        raw = await client.rest()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_an_answer_of_unknown_length_ends_with_the_connection_in_http_1_0(
    autojump_clock: MockClock,
) -> None:
    async with in_memory(Echo()) as world:
        client = world.connect()
        await client.send(get("/stream", "Connection: keep-alive", version="1.0"))
        raw = await client.rest()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert body == b"onetwo"


@pytest.mark.parametrize(
    ("request_line", "path", "raw_path", "query", "host"),
    [
        (b"GET /a%20b?c=%20 HTTP/1.1", "/a b", b"/a%20b", b"c=%20", b"a"),
        (b"GET /caf%C3%A9 HTTP/1.1", "/café", b"/caf%C3%A9", b"", b"a"),
        (b"GET /%ff HTTP/1.1", "/\ufffd", b"/%ff", b"", b"a"),
        (b"GET /%zz?? HTTP/1.1", "/%zz", b"/%zz", b"?", b"a"),
        (b"GET http://b:80/c?d HTTP/1.1", "/c", b"/c", b"d", b"b:80"),
        (b"GET HTTP://b?d HTTP/1.1", "/", b"/", b"d", b"b"),
        (b"OPTIONS * HTTP/1.1", "*", b"*", b"", b"a"),
        (b"GET //a HTTP/1.1", "//a", b"//a", b"", b"a"),
    ],
)
async def test_the_target_is_decoded(
    request_line: bytes, path: str, raw_path: bytes, query: bytes, host: bytes, autojump_clock: MockClock
) -> None:
    app = Echo()
    async with in_memory(app) as world:
        assert (await world.connect().ask(request_line + b"\r\nHost: a\r\n\r\n"))[0] == 200
    (scope,) = app.scopes
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)
    assert [value for name, value in scope["headers"] if name == b"host"] == [host]


async def test_the_scope_says_when_the_head_was_complete(autojump_clock: MockClock) -> None:
    """Time zero of a request is the last byte of its head, however slowly it came."""
    app = Echo()
    async with in_memory(app) as world:
        client = world.connect()
        began = trio.current_time()
        for part in (b"\r\nGET / HT", b"TP/1.1\r\nHost: a\r\nX-Y:\t z \t\r\n\r", b"\n"):
            await trio.sleep(1)
            await client.send(part)
        await client.answer()
    (scope,) = app.scopes
    assert scope["fanout.arrived_at"] == began + 3
    assert scope["headers"] == [(b"host", b"a"), (b"x-y", b"z")]
    assert (scope["type"], scope["http_version"], scope["scheme"]) == ("http", "1.1", "http")


async def test_a_socket_has_addresses() -> None:
    app = Echo()
    async with on_socket(app) as world:
        client = await world.connect()
        await client.ask(get())
        assert isinstance(client.stream, trio.SocketStream)
        assert app.scopes[0]["client"] == client.stream.socket.getsockname()
        assert app.scopes[0]["server"] == ("127.0.0.1", world.port)
        await client.stream.aclose()
