"""The time before a graceful shutdown: everything is served, and every answer sends its client elsewhere."""

from __future__ import annotations

import socket

import h2.events
import trio
import trio.testing
import trustme
from h2.errors import ErrorCodes
from trio.testing import MockClock

from fanout.server.asgi import Receive, Scope, Send
from fanout.server.certificates import Certificate
from tests.server.apps import Echo, answer, lifespan
from tests.server.http2 import H2Client, Http2World, http2_in_memory, request, serve_http2
from tests.server.serving import MemoryTransport, get, in_memory, on_socket
from tests.server.test_refuse import Switch
from tests.server.tls_clients import client_context

WINDOW_UPDATE = bytes((0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 64, 0))  # 16 KiB more for the connection
BODY = b"x" * 49_152  # three whole frames, within the window that every client has at first


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await answer(send, BODY)


async def test_every_answer_is_the_last_on_its_connection_and_new_connections_are_served(
    autojump_clock: MockClock,
) -> None:
    """A request that was running, one over an idle connection, and one over a new connection."""
    async with in_memory(Echo(slow_s=5)) as world:
        idle, busy = world.connect(), world.connect()
        await idle.ask(get())
        await busy.send(get("/slow"))
        await trio.sleep(1)
        world.driver.enter_lame_duck()
        await trio.sleep(1)
        assert world.driver.statistics().open == 2, (
            "an idle connection stays, for its request may be on its way"
        )
        for client in (idle, world.connect()):
            status, fields, body = await client.ask(get("/late"))
            assert (status, fields["connection"], body) == (200, "close", b"GET /late")
            assert await client.closed()
        status, fields, _ = await busy.answer()
        assert (status, fields["connection"]) == (200, "close")
        assert await busy.closed()
        assert not world.driver.draining
        await world.all_ended()
    assert world.ended == {"answered": 3}


async def test_a_request_that_is_shed_is_the_last_one_too(autojump_clock: MockClock) -> None:
    async with in_memory(Echo(), refuse=Switch()) as world:
        client = world.connect()
        assert "connection" not in (await client.ask(get()))[1]
        world.driver.enter_lame_duck()
        status, fields, _ = await client.ask(get())
        assert (status, fields["connection"]) == (503, "close")
        assert await client.closed()


async def test_an_http2_connection_ends_with_the_last_of_the_answers_that_run_together(
    autojump_clock: MockClock,
) -> None:
    """The goodbye says which request was the last, so its client may send any later one elsewhere."""
    async with http2_in_memory(Echo(slow_s=5)) as world:
        client, new = world.connect(), world.connect()
        await client.send(request(b"/slow"))
        await trio.sleep(1)
        world.driver.enter_lame_duck()
        await client.send(request(b"/slow"), stream_id=3)
        assert await client.ended() == 1
        assert await client.ended() == 3
        goodbye = await client.next(h2.events.ConnectionTerminated)
        assert (goodbye.error_code, goodbye.last_stream_id) == (ErrorCodes.NO_ERROR, 3)
        await new.flush()  # its preface, and a second later its request
        await trio.sleep(1)
        await new.send(request())
        assert await new.ended() == 1
        assert (await new.next(h2.events.ConnectionTerminated)).last_stream_id == 1
        assert not world.driver.draining
    assert world.crashes == []


async def test_an_idle_http2_connection_stays_open(autojump_clock: MockClock) -> None:
    async with http2_in_memory(Echo()) as world:
        client = world.connect()
        await client.send(request())
        assert await client.ended() == 1
        await trio.sleep(1)  # until the server has noted that all of the answer was taken
        world.driver.enter_lame_duck()
        await trio.sleep(1)
        await client.send(request(), stream_id=3)
        assert await client.ended() == 3
        assert (await client.next(h2.events.ConnectionTerminated)).last_stream_id == 3


async def test_an_http2_request_that_is_shed_is_the_last_one_too(autojump_clock: MockClock) -> None:
    async with in_memory(Echo(), refuse=Switch()) as world:
        client = Http2World(world).connect()
        await client.send(request())
        assert await client.status() == b"503"
        world.driver.enter_lame_duck()
        await client.send(request(), stream_id=3)
        assert await client.status() == b"503"
        goodbye = await client.next(h2.events.ConnectionTerminated)
        assert (goodbye.error_code, goodbye.last_stream_id) == (ErrorCodes.NO_ERROR, 3)


async def test_the_last_answer_over_http2_has_as_long_as_any_other(autojump_clock: MockClock) -> None:
    """To a client that pauses for 5 s: 10 are allowed."""
    sent = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, BODY)
        sent.append(trio.current_time())

    async with in_memory(app) as world:
        theirs, ours = trio.testing.lockstep_stream_pair()
        world.nursery.start_soon(serve_http2, app, world.driver, MemoryTransport(ours))
        client = H2Client(theirs)
        world.driver.enter_lame_duck()
        await client.send(request())
        received = 0
        while received < len(BODY) - 10_000:  # into the last frame
            received += len(await theirs.receive_some(4_000))
        await trio.sleep(5)
        assert world.driver.statistics().open == 1
        await client.end()
        assert len(sent) == 1, "it was not cancelled"


async def test_the_last_answer_over_http2_reaches_a_slow_client_that_opens_its_windows(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """To close with its frames unread sends an RST, which undoes what is not delivered yet."""
    async with on_socket(large, certificate=certificate) as world:
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await sock.connect(("127.0.0.1", world.port))
        stream = trio.SSLStream(
            trio.SocketStream(sock),
            client_context(authority, "h2"),
            server_hostname="127.0.0.1",
            https_compatible=True,
        )
        async with stream:
            client = H2Client(stream)
            world.driver.enter_lame_duck()
            await client.send(request())
            received = 0
            while received < len(BODY):
                part = await client.next(h2.events.DataReceived)
                received += len(part.data)
                await stream.send_all(WINDOW_UPDATE)
                await trio.sleep(0.02)
            await client.end()
    assert world.ended == {"drained": 1}
