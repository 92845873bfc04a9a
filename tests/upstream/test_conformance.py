"""The same calls through this transport, httpx's own and a respx mock: nobody can tell them apart.

Where ours is stricter than httpx's own, that is its own test at the end.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
import respx
import trio

from fanout.upstream.transport import PoolTransport
from tests.upstream.raw_server import RawConnection, answer, echo_path, raw_server

JSON = b'{"time": 150}'


@dataclass(frozen=True)
class Answered:
    """What an upstream sends, and the response that it is; `mock` is the same without a network."""

    wire: bytes
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "GET"
    content: bytes | None = None

    @property
    def mock(self) -> httpx.Response:
        return httpx.Response(self.status, headers=self.headers, content=self.content or self.body)


@dataclass(frozen=True)
class Failed:
    """What an upstream sends before it closes, and the error that it is."""

    wire: bytes
    error: type[httpx.TransportError]


ANSWERED = {
    "json": Answered(
        answer(JSON, b"Content-Type: application/json"), 200, JSON, (("Content-Type", "application/json"),)
    ),
    "empty": Answered(answer(b""), 200, b""),
    "500": Answered(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", 500, b"oops"),
    "redirect": Answered(
        b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302, b"", (("Location", "/x"),)
    ),
    "unknown status": Answered(b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", 599, b""),
    "204": Answered(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "304": Answered(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
    "head": Answered(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 200, b"", method="HEAD"),
    "informational first": Answered(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(JSON), 200, JSON),
    "chunked": Answered(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n"
        + JSON[:6]
        + b"\r\n7\r\n"
        + JSON[6:]
        + b"\r\n0\r\n\r\n",
        200,
        JSON,
    ),
    "until the end": Answered(b"HTTP/1.1 200 OK\r\n\r\n" + JSON, 200, JSON),
    "HTTP/1.0": Answered(b"HTTP/1.0 200 OK\r\n\r\n" + JSON, 200, JSON),
    "gzip": Answered(
        answer(gzip.compress(JSON), b"Content-Encoding: gzip"),
        200,
        JSON,
        (("Content-Encoding", "gzip"),),
        content=gzip.compress(JSON),
    ),
    "deflate": Answered(
        answer(zlib.compress(JSON), b"Content-Encoding: deflate"),
        200,
        JSON,
        (("Content-Encoding", "deflate"),),
        content=zlib.compress(JSON),
    ),
    "repeated header": Answered(answer(b"", b"X: 1", b"X: 2"), 200, b"", (("X", "1"), ("X", "2"))),
    "closing": Answered(answer(JSON, b"Connection: close"), 200, JSON, (("Connection", "close"),)),
}
FAILED = {
    "closed at once": Failed(b"", httpx.RemoteProtocolError),
    "closed in the head": Failed(b"HTTP/1.1 200 OK\r\nCont", httpx.RemoteProtocolError),
    "closed in the body": Failed(answer(JSON)[:-1], httpx.RemoteProtocolError),
    "closed in a chunk": Failed(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{}", httpx.RemoteProtocolError
    ),
    "not HTTP": Failed(b"SSH-2.0-OpenSSH\r\n\r\n", httpx.RemoteProtocolError),
    "folded length": Failed(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", httpx.RemoteProtocolError),
}


def ours() -> httpx.AsyncBaseTransport:
    return PoolTransport(max_connections=10)


def httpx_own() -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=10, max_keepalive_connections=10))


REAL = [ours, httpx_own]
NewTransport = Callable[[], httpx.AsyncBaseTransport]


@asynccontextmanager
async def real(new_transport: NewTransport, wire: bytes) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    async def once(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(wire)

    async with raw_server(once) as server, client_of(new_transport()) as client:
        yield client, server.url()


@asynccontextmanager
async def mocked(case: Answered) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    async with respx.mock(using="httpx") as router, client_of(ours()) as client:
        router.route(method=case.method, url="http://192.0.2.1/").mock(return_value=case.mock)
        yield client, "http://192.0.2.1/"


def client_of(transport: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=transport, timeout=None, trust_env=False)


@pytest.mark.parametrize("name", ANSWERED)
@pytest.mark.parametrize("how", ["get", "stream"])
@pytest.mark.parametrize("through", ["ours", "httpx", "respx"])
async def test_an_answer_is_the_same_response(through: str, how: str, name: str) -> None:
    case = ANSWERED[name]
    transports = {"ours": ours, "httpx": httpx_own}
    world = real(transports[through], case.wire) if through in transports else mocked(case)
    async with world as (client, url):
        if how == "get":
            response = await client.request(case.method, url)
        else:
            async with client.stream(case.method, url) as response:
                await response.aread()
        assert response.status_code == case.status
        assert response.content == case.body
        assert str(response.request.url) == url
        for key, value in case.headers:
            if key != "Content-Encoding":  # ours has decoded already
                assert value in response.headers.get_list(key)


@pytest.mark.parametrize("name", FAILED)
@pytest.mark.parametrize("new_transport", REAL)
async def test_a_failure_is_the_same_error(new_transport: NewTransport, name: str) -> None:
    case = FAILED[name]
    async with real(new_transport, case.wire) as (client, url):
        with pytest.raises(case.error) as caught:
            await client.get(url)
    assert str(caught.value.request.url) == url


@pytest.mark.parametrize("new_transport", REAL)
async def test_nobody_there_is_a_connect_error(new_transport: NewTransport) -> None:
    async with raw_server(echo_path) as server:
        gone = server.url()
    async with client_of(new_transport()) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(gone)


@pytest.mark.parametrize("new_transport", REAL)
async def test_a_response_that_is_left_early_does_no_harm(new_transport: NewTransport) -> None:
    async with raw_server(echo_path) as server, client_of(new_transport()) as client:
        for path in ("/1", "/2", "/3"):
            async with client.stream("GET", server.url(path)) as response:
                assert response.status_code == 200
        assert (await client.get(server.url("/4"))).content == b"/4"


@pytest.mark.parametrize("new_transport", REAL)
async def test_connections_are_kept_and_used_again(new_transport: NewTransport) -> None:
    async with raw_server(echo_path) as server, client_of(new_transport()) as client:
        for _ in range(5):
            assert (await client.get(server.url("/a"))).content == b"/a"
        assert server.accepted == 1


@pytest.mark.parametrize("new_transport", REAL)
async def test_a_body_is_sent(new_transport: NewTransport) -> None:
    async def echo_body(connection: RawConnection) -> None:
        while (request := await connection.request()) is not None:
            await connection.send(answer(request.partition(b"\r\n\r\n")[2]))

    async with raw_server(echo_body) as server, client_of(new_transport()) as client:
        large = bytes(range(256)) * 4000
        assert (await client.post(server.url(), content=large[:900_000])).content == large[:900_000]
        assert (await client.post(server.url(), json={"a": 1})).json() == {"a": 1}


@pytest.mark.parametrize("new_transport", REAL)
async def test_the_caller_owns_time(new_transport: NewTransport) -> None:
    """A cancelled call ends at once, its connection is closed, and the next call is served."""
    closed = trio.Event()

    async def hang_once(connection: RawConnection) -> None:
        if connection.number:
            await echo_path(connection)
            return
        await connection.request()
        try:
            assert await connection.stream.receive_some(1) == b""
        finally:
            closed.set()

    async with raw_server(hang_once) as server, client_of(new_transport()) as client:
        with trio.move_on_after(0.05) as scope:
            await client.get(server.url())
        assert scope.cancelled_caught
        with trio.fail_after(5):
            await closed.wait()
            assert (await client.get(server.url("/b"))).content == b"/b"


STRICTER = {
    "two equal lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "a folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("name", STRICTER)
async def test_ours_refuses_what_can_be_read_in_two_ways(name: str) -> None:
    async with real(httpx_own, STRICTER[name]) as (client, url):
        assert (await client.get(url)).status_code == 200
    async with real(ours, STRICTER[name]) as (client, url):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(url)
