"""G10: a client cannot stop the event loop, or fill memory, with TLS records that are good for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fanout.server.certificates import Certificate
from tests.openssl import Peer
from tests.server.apps import Echo
from tests.server.serving import SocketWorld, get, on_socket

_FLOOD = 2400  # of them fit into one read of the server


@asynccontextmanager
async def secure_client(
    certificate: Certificate,
) -> AsyncIterator[tuple[SocketWorld, Peer, trio.SocketStream]]:
    async with on_socket(Echo(), certificate=certificate) as world:
        stream = (await world.connect()).stream
        assert isinstance(stream, trio.SocketStream)
        peer = Peer()
        try:
            while not peer.shake_hands():
                await stream.send_all(peer.says())
                peer.hears(await stream.receive_some())
            yield world, peer, stream
        finally:
            peer.close()
            await stream.aclose()


async def answer_to(peer: Peer, stream: trio.SocketStream) -> bytes:
    await stream.send_all(peer.says())
    while not (answer := peer.read()):
        peer.hears(await stream.receive_some())
    return answer


@pytest.mark.parametrize("both", [True, False], ids=["answered", "unanswered"])
async def test_a_flood_of_key_changes_ends_the_connection(certificate: Certificate, both: bool) -> None:
    """2,400 of them took 20 to 60 ms of one event-loop iteration, and their answers stayed in memory."""
    async with secure_client(certificate) as (world, peer, stream):
        for _ in range(_FLOOD):
            peer.change_keys(both=both)
        await stream.send_all(peer.says())
        await world.settled()
        assert world.ended == {"client_disconnected": 1}


async def test_key_changes_between_requests_end_the_connection_when_they_are_too_many(
    certificate: Certificate,
) -> None:
    """A client that never reads would have their answers pile up, a few for each byte of a request."""
    async with secure_client(certificate) as (world, peer, stream):
        for byte in range(40):
            peer.change_keys(both=True)
            peer.write(get()[byte % 10 : byte % 10 + 1])
        await stream.send_all(peer.says())
        await world.settled()
        assert world.ended == {"client_disconnected": 1}


async def test_a_client_may_change_its_keys(certificate: Certificate) -> None:
    async with secure_client(certificate) as (_, peer, stream):
        for _ in range(20):
            peer.change_keys(both=True)
            peer.write(get("/a"))
            assert (await answer_to(peer, stream)).endswith(b"GET /a")


async def test_a_request_in_records_of_one_byte_is_answered(certificate: Certificate) -> None:
    """They are taken a few per event-loop iteration, and none is lost, nor are those behind them."""
    async with secure_client(certificate) as (_, peer, stream):
        request = get("/" + "a" * 1000)
        for byte in request:
            peer.write(bytes((byte,)))
        peer.write(get("/second"))
        assert b"GET /aaa" in await answer_to(peer, stream)
        await wait_all_tasks_blocked(0.01)
        assert (await answer_to(peer, stream)).endswith(b"GET /second")
