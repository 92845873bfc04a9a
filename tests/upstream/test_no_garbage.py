"""However a call ends, reference counts free all of it: nothing waits for the garbage collector (G10)."""

from __future__ import annotations

import collections
import gc
import gzip
import socket
import ssl
import traceback
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
import trio

from fanout.upstream.transport import PoolTransport
from fanout.upstream.wire import Address
from tests.upstream.raw_server import Authority, Handler, RawConnection, answer, echo_path, raw_server
from tests.upstream.scripted_wire import ScriptedWire, World

AUTHORITY = Authority()
CALLS = 6


async def hangs(connection: RawConnection) -> None:
    await connection.request()
    await trio.sleep_forever()


async def says_nothing(connection: RawConnection) -> None:
    await trio.sleep_forever()


async def talks_nonsense(connection: RawConnection) -> None:
    await connection.request()
    await connection.send(b"nonsense\r\n\r\n")


async def speaks_no_tls(connection: RawConnection) -> None:
    await connection.stream.receive_some(1)
    await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def closes(connection: RawConnection) -> None:
    await connection.request()


async def is_cut_short(connection: RawConnection) -> None:
    await connection.request()
    await connection.send(answer(b"{}")[:-1])


async def sends_no_gzip(connection: RawConnection) -> None:
    while await connection.request() is not None:
        await connection.send(answer(b"not gzip", b"Content-Encoding: gzip"))


async def sends_a_bomb(connection: RawConnection) -> None:
    while await connection.request() is not None:
        await connection.send(answer(gzip.compress(bytes(2**21)), b"Content-Encoding: gzip"))


@contextmanager
def collected() -> Iterator[list[object]]:
    """What only the collector would have freed."""
    gc.collect()
    gc.freeze()  # what there is already need not be looked at
    found: list[object] = []
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


async def ends_somehow(transport: PoolTransport, url: str, within_s: float) -> None:
    with trio.move_on_after(within_s), suppress(httpx.HTTPError):
        await transport.handle_async_request(httpx.Request("GET", url))


@pytest.mark.parametrize("tls", [None, AUTHORITY.server], ids=["plain", "tls"])
@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "ended"])
@pytest.mark.parametrize(
    "handler", [echo_path, hangs, talks_nonsense, closes, is_cut_short, sends_no_gzip, sends_a_bomb]
)
async def test_a_call_leaves_nothing_to_the_collector(
    handler: Handler, is_cancelled: bool, tls: ssl.SSLContext | None
) -> None:
    """A cycle is freed later, all at once, while other calls wait; over TLS it holds 80 KiB."""
    if handler is hangs and not is_cancelled:
        return  # it ends in no other way
    async with raw_server(handler, tls) as server:
        await measure(server.url(), 0.02 if is_cancelled else 5)


async def test_a_handshake_that_does_not_end_leaves_nothing_to_the_collector() -> None:
    async with raw_server(says_nothing) as server:
        await measure(server.url().replace("http:", "https:"), 0.02)


async def test_a_handshake_that_fails_leaves_nothing_to_the_collector() -> None:
    async with raw_server(speaks_no_tls) as server:
        await measure(server.url().replace("http:", "https:"), 5)


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
@pytest.mark.parametrize("is_open", [True, False], ids=["one connects", "all fail"])
async def test_a_connect_leaves_nothing_to_the_collector(hosts: Sequence[str], is_open: bool) -> None:
    """Of a name with one address and with two."""
    async with raw_server(talks_nonsense) as server:
        port = int(server.origin.rpartition(":")[2]) if is_open else 9

        async def look_up(host: str, _: int) -> Sequence[Address]:
            await trio.lowlevel.checkpoint()
            return [(socket.AF_INET, (host, port)) for host in hosts]

        await measure("http://upstream.test/", 5, look_up)


@pytest.mark.parametrize("said", [[b""], [answer(b"{}")]], ids=["ends", "is answered"])
async def test_a_request_that_cannot_be_sent_leaves_nothing_to_the_collector(said: Sequence[bytes]) -> None:
    class Deaf(ScriptedWire):
        async def send_all(self, data: bytes) -> None:
            await super().send_all(data)
            raise BrokenPipeError(32, "broken pipe")

    world = World(*(Deaf(said) for _ in range(CALLS)))
    with collected() as garbage:
        for _ in range(CALLS):
            with suppress(httpx.WriteError):
                await world.get("POST")
    assert not [thing for thing in garbage if is_ours(thing)]


def is_ours(thing: object) -> bool:
    """Not the test's server's: `trio.SSLStream` is a cycle, and so is Trio's error after a client's reset."""
    if isinstance(thing, ssl.SSLObject):
        return not thing.server_side
    if isinstance(thing, BaseException):
        return thing.__traceback__ is None or is_ours(thing.__traceback__)
    if isinstance(thing, types.TracebackType):
        return any(is_ours(frame) for frame, _ in traceback.walk_tb(thing))
    module = thing.f_globals["__name__"] if isinstance(thing, types.FrameType) else type(thing).__module__
    return str(module).startswith(("fanout.", "httpx", "httptools"))


async def measure(url: str, within_s: float, look_up: object = None) -> None:
    more: Any = {} if look_up is None else {"look_up": look_up}
    transport = PoolTransport(max_connections=4, ssl_context=AUTHORITY.client, **more)
    async with transport, trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        await ends_somehow(transport, url, within_s)
        await trio.sleep(0.01)
        with collected() as garbage:
            for _ in range(CALLS):
                await ends_somehow(transport, url, within_s)
        kinds = collections.Counter(type(thing).__qualname__ for thing in garbage if is_ours(thing))
        nursery.cancel_scope.cancel()
    assert not kinds


@pytest.mark.parametrize("is_secure", [True, False], ids=["in the answer", "in the handshake"])
async def test_openssls_memory_is_freed_with_its_connection_whoever_keeps_the_exception(
    is_secure: bool,
) -> None:
    """G6, G10: a `Cancelled` holds the frames it has passed, for as long as somebody holds it. And an error
    that was handled where it came has frames of its own."""
    handler, context = (hangs, AUTHORITY.server) if is_secure else (says_nothing, None)
    transport = PoolTransport(max_connections=4, ssl_context=AUTHORITY.client)
    kept: list[BaseException] = []

    def living() -> int:
        return sum(isinstance(thing, ssl.SSLObject) and not thing.server_side for thing in gc.get_objects())

    async with raw_server(handler, context) as server, transport, trio.open_nursery() as nursery:
        await nursery.start(transport.run)
        url = server.url().replace("http://", "https://")
        gc.collect()
        before = living()
        for _ in range(CALLS):
            with trio.move_on_after(0.02):
                try:
                    await transport.handle_async_request(httpx.Request("GET", url))
                except trio.Cancelled as cancelled:
                    kept.append(cancelled)
                    raise
        assert len(kept) == CALLS
        assert living() == before
        nursery.cancel_scope.cancel()
