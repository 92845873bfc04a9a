"""What an HTTP/2 client may not do, and what it may do only so often. G8, G10."""

from __future__ import annotations

import struct

import h2.connection
import h2.events
import h2.settings
import pytest
import trio
import trio.testing
import trustme
from h2.errors import ErrorCodes

from fanout.server.asgi import Receive, Scope, Send
from fanout.server.certificates import Certificate
from fanout.server.connection import Connection
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from tests.server.apps import Echo, answer, lifespan
from tests.server.http2 import H2Client, h2_client, http2_in_memory, request, serve_http2, unread
from tests.server.serving import MemoryTransport, in_memory, on_socket, until


async def test_a_request_taken_back_is_cancelled_and_leaves_an_idle_connection(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """G6. Hypercorn has no timer for a connection whose last request was reset."""
    app = Echo(slow_s=60)
    async with on_socket(app, Limits(idle_timeout_s=0.2), certificate=certificate) as world:
        client = await h2_client(world, authority)
        await client.send(request(b"/slow"))
        await until(lambda: app.running)
        client.connection.reset_stream(1)
        await client.flush()
        await until(lambda: not app.running, 1)
        await world.settled()
    assert world.ended == {"idle": 1}


async def test_an_idle_http2_connection_gives_way_to_a_new_one(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """G10."""
    async with on_socket(Echo(), Limits(max_connections=1), certificate=certificate) as world:
        idle = await h2_client(world, authority)
        await idle.send(request())
        assert await idle.ended() == 1
        newer = await h2_client(world, authority)
        await newer.send(request())
        assert await newer.status() == b"200"
    assert world.ended["evicted"] == 1


async def test_a_loop_that_is_behind_refuses_http2_as_well(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """G8. The answer is the one of HTTP/1.1, and the app is not asked."""
    app = Echo()
    busy = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 4\r\n\r\nbusy"
    async with on_socket(app, refuse=lambda _: busy, certificate=certificate) as world:
        client = await h2_client(world, authority)
        await client.send(request())
        assert dict((await client.next(h2.events.ResponseReceived)).headers) == {
            b":status": b"503",
            b"retry-after": b"1",
            b"content-length": b"4",
        }
        assert (await client.next(h2.events.DataReceived)).data == b"busy"
        assert await client.ended() == 1
        client.connection.send_headers(3, request(method=b"POST"))
        client.connection.send_data(3, b"in the same bytes", end_stream=True)
        await client.flush()
        assert await client.ended() == 3
        last = await h2_client(world, authority)
        last.connection.send_headers(1, request(), end_stream=True)
        last.connection.close_connection()
        await last.flush()  # nothing can be answered any more
        await world.settled(1)
        assert world.ended == {"client_disconnected": 1}
    assert world.driver.refused == 3
    assert app.scopes == []
    assert world.crashes == []


async def test_too_many_requests_taken_back_end_the_connection(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """G8, G10: whatever else it asks, and although none of them is there for long."""
    app = Echo(slow_s=60)
    limits = Limits(max_resets=10, resets_per_s=0)
    async with on_socket(app, limits, certificate=certificate) as world:
        client = await h2_client(world, authority)
        for stream_id in range(1, 101, 2):
            client.connection.send_headers(stream_id, request(b"/slow"), end_stream=True)
        await client.flush()
        await until(lambda: app.running == 50)
        for stream_id in range(1, 101, 2):
            client.connection.reset_stream(stream_id)
        await client.flush()
        assert await client.goodbye() == ErrorCodes.ENHANCE_YOUR_CALM
        await until(lambda: not app.running, 1)
        await world.settled()
    assert world.ended == {"flooding": 1}


async def test_a_request_reset_in_the_same_bytes_is_not_begun(
    authority: trustme.CA, certificate: Certificate
) -> None:
    app = Echo(slow_s=60)
    async with on_socket(app, certificate=certificate) as world:
        client = await h2_client(world, authority)
        for stream_id in range(1, 101, 2):
            client.connection.send_headers(stream_id, request(b"/slow"), end_stream=True)
            client.connection.reset_stream(stream_id)
        await client.flush()
        await client.send(request(), stream_id=101)
        assert await client.status() == b"200"
    assert len(app.scopes) == 1


async def test_priorities_are_not_listened_to(authority: trustme.CA, certificate: Certificate) -> None:
    """G10. Hypercorn keeps a thousand of them, of streams that never come, and raises at the next."""
    async with on_socket(Echo(), Limits(max_spare_frames=2000), certificate=certificate) as world:
        client = await h2_client(world, authority)
        await client.flush()
        frames = (struct.pack(">HBBBIIB", 0, 5, 2, 0, stream_id, 0, 10) for stream_id in range(3, 2403, 2))
        await client.stream.send_all(b"".join(frames))
        await client.send(request())
        assert await client.ended() == 1
    assert world.crashes == []


async def test_frames_that_ask_for_nothing_end_the_connection(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """G10. Requests and time earn more of them."""
    limits = Limits(max_spare_frames=20, spare_frames_per_s=0, spare_frames_a_request=4)
    async with on_socket(Echo(), limits, certificate=certificate) as world:
        client = await h2_client(world, authority)
        for stream_id in range(1, 41, 2):
            for _ in range(3):
                client.connection.ping(b"12345678")
            await client.send(request(), stream_id=stream_id)
            assert await client.ended() == stream_id
        for _ in range(21):
            client.connection.ping(b"12345678")
        await client.flush()
        assert await client.goodbye() == ErrorCodes.ENHANCE_YOUR_CALM
        await world.settled()
    assert world.ended == {"flooding": 1}


async def test_an_http2_client_that_gives_no_window_is_cut(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """Hypercorn waits for a window for ever."""
    app = Echo()
    async with on_socket(app, Limits(write_timeout_s=0.2), certificate=certificate) as world:
        client = await h2_client(world, authority)
        await client.send(request(b"/big"))
        assert await client.status() == b"200"
        await world.settled()
        assert app.running == 0
    assert world.ended == {"slow_reader": 1}


async def test_an_http2_client_that_does_not_read_is_cut_with_all_its_requests(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """An answer is complete, and the transport does not take it; another request still runs."""
    app = Echo(slow_s=60)
    async with in_memory(app, Limits(write_timeout_s=1)) as world:
        theirs, ours = trio.testing.lockstep_stream_pair()
        world.nursery.start_soon(serve_http2, app, world.driver, MemoryTransport(ours, theirs.send_stream))
        client = H2Client(theirs)
        await client.send(request(b"/slow"))
        await client.next(h2.events.RemoteSettingsChanged)
        await client.send(request(), stream_id=3)
        await until(lambda: not world.driver.statistics().open)
        assert app.running == 0
    assert world.ended == {"slow_reader": 1}
    assert world.crashes == []


@pytest.mark.parametrize("waits", ["another", "itself"])
async def test_an_answer_that_the_transport_is_about_to_take_does_not_pay_for_a_window(
    autojump_clock: trio.testing.MockClock, waits: str
) -> None:
    """G1, G10. An answer has waited for its window for as long as it may, when another or the same one has
    just been handed to the transport, which has a bound of its own."""
    async with in_memory(Echo(), Limits(write_timeout_s=1)) as world:
        client = await unread(world)
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.flush()
        await client.send(request())
        assert await client.status() == b"200"
        await trio.sleep(0.9)
        expected = 1 if waits == "itself" else 3
        if waits == "another":
            client.connection.send_headers(3, request(), end_stream=True)
        client.connection.increment_flow_control_window(1000, expected)
        await client.flush()
        await trio.sleep(0.3)
        assert world.driver.statistics().open == 1
        assert await client.ended() == expected
        await client.stream.aclose()
    assert world.crashes == []


@pytest.mark.parametrize("drains", [False, True])
async def test_a_stream_without_a_window_ends_alone_while_others_run(
    autojump_clock: trio.testing.MockClock, drains: bool
) -> None:
    """G9, G10: a proxy may send the requests of many clients over one connection."""
    async with http2_in_memory(Echo(slow_s=5), Limits(write_timeout_s=1, drain_grace_s=0.5)) as world:
        client = world.connect()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.send(request())
        await client.send(request(b"/slow"), stream_id=3)
        client.connection.increment_flow_control_window(1000, 3)
        await client.flush()
        began_at = trio.current_time()
        await trio.sleep(0.1)
        if drains:
            world.driver.drain()
        reset = await client.next(h2.events.StreamReset)
        assert (reset.stream_id, reset.error_code) == (1, ErrorCodes.CANCEL)
        assert trio.current_time() - began_at == pytest.approx(0.6 if drains else 1)
        assert await client.ended() == 3
        assert trio.current_time() - began_at == pytest.approx(5)
        if drains:
            assert await client.goodbye() == ErrorCodes.NO_ERROR
    assert world.crashes == []


async def test_an_http2_client_that_does_not_read_is_cut(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """Hypercorn shields the write, without a bound."""
    async with on_socket(Echo(), Limits(write_timeout_s=0.2), certificate=certificate) as world:
        client = await h2_client(world, authority)
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**30})
        client.connection.increment_flow_control_window(2**30)
        await client.send(request(b"/big"))
        await world.settled()
    assert world.ended == {"slow_reader": 1}


async def test_an_app_that_waits_for_a_window_ends_when_its_client_leaves(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """G6. Also an app that does not ask whether it has; hypercorn leaves it waiting."""

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        else:
            await answer(send, b"x" * 100)

    async with on_socket(deaf, Limits(linger_timeout_s=60), certificate=certificate) as world:
        client = await h2_client(world, authority)
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.send(request())
        assert await client.status() == b"200"
        await client.stream.aclose()
        await world.settled()
    assert world.ended == {"client_disconnected": 1}


async def test_a_new_request_does_not_end_the_bound_of_a_write(autojump_clock: object) -> None:
    """G10. Over HTTP/2 requests come while answers are written."""
    driver = Driver(Limits(), on_crash=lambda _: None)

    async def serve(connection: Connection) -> None:
        connection.written_within(1)
        connection.work()
        await trio.sleep_forever()

    stream, _ = trio.testing.memory_stream_pair()
    await driver.hold(MemoryTransport(stream), serve)
    assert driver.statistics().ended == {"slow_reader": 1}


@pytest.mark.parametrize(("allowed_bytes", "used_bytes"), [(2**30, 4096), (100, 100), (0, 0)])
async def test_a_client_may_have_less_remembered_of_answers_but_not_more(
    allowed_bytes: int, used_bytes: int, authority: trustme.CA, certificate: Certificate
) -> None:
    """G10. How much is used is told with the next answer."""
    async with on_socket(Echo(), certificate=certificate) as world:
        client = await h2_client(world, authority)
        client.connection.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: allowed_bytes})
        await client.send(request())
        assert await client.status() == b"200"
        assert client.connection.decoder.header_table_size == used_bytes


async def test_a_client_that_has_less_remembered_for_a_while_is_told_of_each_change(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """RFC 7541 4.2: else the tables of the two differ, and no later answer can be read."""
    async with http2_in_memory(Echo()) as world:
        client = world.connect()
        for stream_id, allowed_bytes in ((1, 100), (3, 4096), (5, 0), (7, 2**20)):
            client.connection.update_settings({h2.settings.SettingCodes.HEADER_TABLE_SIZE: allowed_bytes})
            await client.send(request(), stream_id=stream_id)
            assert await client.status() == b"200"
            assert client.connection.decoder.header_table_size == min(allowed_bytes, 4096)
