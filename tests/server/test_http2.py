"""HTTP/2 over ALPN, under the same guard and with the same bounds as HTTP/1.1."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable

import h2.events
import pytest
import trio
import trio.testing
import trustme
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fanout.server.certificates import Certificate
from fanout.server.limits import Limits
from tests.server.apps import Echo, crash
from tests.server.http2 import H2Client, h2_client, request
from tests.server.serving import SocketWorld, get, on_socket, until
from tests.server.tls_clients import ask, over_tls


async def test_http2_over_alpn_is_served(authority: trustme.CA, certificate: Certificate) -> None:
    app = Echo()
    async with on_socket(app, certificate=certificate) as world:
        client = await h2_client(world, authority)
        await client.send(request())
        assert await client.status() == b"200"
        assert app.scopes[0]["http_version"] == "2"
        assert app.scopes[0]["fanout.arrived_at"] <= trio.current_time()
        assert app.told_at == []  # hypercorn says so itself after every answer
        await client.stream.aclose()
        await world.settled()
    assert world.ended == {"client_disconnected": 1}
    assert world.crashes == []


async def test_an_idle_http2_connection_does_not_hold_a_drain(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """And a running one is answered first."""
    app = Echo(slow_s=0.2)
    async with on_socket(app, certificate=certificate) as world:
        idle, busy = await h2_client(world, authority), await h2_client(world, authority)
        await idle.send(request())
        assert await idle.status() == b"200"
        await busy.send(request(b"/slow"))
        await until(lambda: app.running)
        world.shutdown.set()
        assert await busy.status() == b"200"
        await until(lambda: not world.nursery.child_tasks, 1)
    assert world.ended == {"drained": 2}


async def test_a_setting_that_is_sent_twice_is_not_forgotten(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """RFC 7541 4.2: the next field block begins with the new size of the table, or the client ends it all."""
    async with on_socket(Echo(), certificate=certificate) as world:
        client = await h2_client(world, authority)
        for _ in range(2):
            client.connection.update_settings({SettingCodes.HEADER_TABLE_SIZE: 0})
            await client.flush()
            await client.next(h2.events.SettingsAcknowledged)
        await client.send(request())
        assert await client.status() == b"200"


async def drained(world: SocketWorld, authority: trustme.CA) -> None:
    world.shutdown.set()
    await trio.lowlevel.checkpoint()


async def idle_for_too_long(world: SocketWorld, authority: trustme.CA) -> None:
    await trio.lowlevel.checkpoint()


async def evicted(world: SocketWorld, authority: trustme.CA) -> None:
    other = await h2_client(world, authority)
    await other.send(request())
    assert await other.status() == b"200"


@pytest.mark.parametrize(
    ("end", "limits", "by"),
    [
        (drained, Limits(), "drained"),
        (idle_for_too_long, Limits(idle_timeout_s=0.3), "idle"),
        (evicted, Limits(max_connections=1), "evicted"),
    ],
)
async def test_an_idle_connection_that_the_server_ends_gets_goaway(
    authority: trustme.CA,
    certificate: Certificate,
    end: Callable[[SocketWorld, trustme.CA], Awaitable[None]],
    limits: Limits,
    by: str,
) -> None:
    """RFC 9113 6.8: with the last request that was begun, so the client knows what it may repeat."""
    async with on_socket(Echo(), limits, certificate=certificate) as world:
        idle = await h2_client(world, authority)
        for stream_id in (1, 3):
            await idle.send(request(), stream_id=stream_id)
            assert await idle.ended() == stream_id
        await end(world, authority)
        goodbye = await idle.next(h2.events.ConnectionTerminated)
        assert (goodbye.error_code, goodbye.last_stream_id) == (ErrorCodes.NO_ERROR, 3)
        assert await idle.stream.receive_some() == b""
        world.shutdown.set()
        await world.settled()
    assert world.ended.get(by)


async def test_a_connection_has_no_last_request(authority: trustme.CA, certificate: Certificate) -> None:
    """G1. Hypercorn ends a connection after a thousand requests, and its last answers with it."""
    async with on_socket(Echo(), certificate=certificate) as world:
        client = await h2_client(world, authority)
        for stream_id in range(1, 2401, 2):
            await client.send(request(), stream_id=stream_id)
            assert await client.ended() == stream_id
    assert world.driver.requests == 1200


async def test_an_answer_before_the_end_of_its_request_is_complete(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """And the rest of the request is neither waited for nor a crash. RFC 9113 8.1."""
    async with on_socket(Echo(), certificate=certificate) as world:
        client = await h2_client(world, authority)
        await client.send(request(method=b"POST"), end=False)
        assert await client.ended() == 1
        assert await client.reset() == ErrorCodes.NO_ERROR
        await client.stream.send_all(b"\x00\x00\x03\x00\x00\x00\x00\x00\x01abc")
        await client.send(request(), stream_id=3)
        assert await client.ended() == 3
    assert world.crashes == []


async def test_a_crash_is_one_answer_and_counted(authority: trustme.CA, certificate: Certificate) -> None:
    """G11. Hypercorn's own answer is one that h2 does not send."""
    async with on_socket(crash, certificate=certificate) as world:
        client = await h2_client(world, authority)
        await client.send(request())
        assert await client.status() == b"500"
        assert await client.ended() == 1
    assert [type(error) for error in world.crashes] == [KeyError]


async def test_a_drain_completes_every_answer_and_says_goodbye(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """G9. A new request is refused, so that its client may send it elsewhere."""
    app = Echo(slow_s=60)
    async with on_socket(app, certificate=certificate) as world:
        client = await h2_client(world, authority)
        for stream_id in range(1, 101, 2):
            client.connection.send_headers(stream_id, request(b"/slow"), end_stream=True)
        await client.flush()
        await until(lambda: app.running == 50)
        world.shutdown.set()
        await until(lambda: world.driver.draining)
        await client.send(request(), stream_id=101)
        assert await client.reset() == ErrorCodes.REFUSED_STREAM
        app.no_longer_slow.set()
        assert {await client.ended() for _ in range(50)} == set(range(1, 101, 2))
        assert await client.goodbye() == ErrorCodes.NO_ERROR
        await world.settled()
    assert world.ended == {"drained": 1}


async def test_an_http2_client_that_leaves_within_an_answer_leaves_nothing(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """Hypercorn starts its idle timer after each answer, also when nobody is there any more."""
    app = Echo(slow_s=0.05)
    async with on_socket(app, certificate=certificate) as world:
        for after_s in (0, 0.02, 0.04, 0.05, 0.06):
            client = await h2_client(world, authority)
            await client.send(request(b"/slow"))
            await trio.sleep(after_s)
            await client.stream.aclose()
        await world.settled()
    assert world.crashes == []


async def nonascii_path(client: H2Client) -> None:
    await client.send(request(b"/\xff"))


async def nonascii_method(client: H2Client) -> None:
    await client.send(request(method=b"G\xff"))


async def connect_without_path(client: H2Client) -> None:
    await client.send([(b":method", b"CONNECT"), (b":authority", b"a:1")])


async def data_after_the_answer(client: H2Client) -> None:
    await client.send(request(method=b"POST"), end=False)
    await client.status()
    await client.stream.send_all(struct.pack(">HBBBI", 0, 100, 0, 0, 1) + b"x" * 100)


async def priorities(client: H2Client) -> None:
    await client.flush()
    frames = b"".join(
        b"\x00\x00\x05\x02\x00" + struct.pack(">IIB", stream, depends, 10)
        for stream, depends in ((3, 5 | 1 << 31), (5, 3 | 1 << 31), (7, 9))
    )
    await client.stream.send_all(frames)


async def resets(client: H2Client) -> None:
    for stream_id in range(1, 41, 2):
        client.connection.send_headers(stream_id, request(), end_stream=True)
        client.connection.reset_stream(stream_id)
    await client.flush()


async def goaway(client: H2Client) -> None:
    await client.send(request(b"/slow"))
    client.connection.close_connection()
    await client.flush()


H2_PROBES = [
    nonascii_path,
    nonascii_method,
    connect_without_path,
    data_after_the_answer,
    priorities,
    resets,
    goaway,
]


@pytest.mark.parametrize("probe", H2_PROBES, ids=lambda probe: probe.__name__)
async def test_what_stops_hypercorn_ends_one_connection(
    probe: Callable[[H2Client], Awaitable[None]], authority: trustme.CA, certificate: Certificate
) -> None:
    """G10. The HTTP/2 half of the twenty: a bystander's running request is answered, the server lives."""
    async with on_socket(Echo(slow_s=0.2), certificate=certificate) as world:
        bystander = await over_tls(world, authority, "http/1.1")
        await bystander.send_all(get("/slow"))
        client = await h2_client(world, authority)
        await probe(client)
        assert (await ask(bystander, b""))[0] == 200
        await client.stream.aclose()
        await bystander.aclose()
        await world.settled()
        assert (await ask(await over_tls(world, authority, "http/1.1"), get()))[0] == 200
    assert world.crashes == []
