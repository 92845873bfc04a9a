"""HTTP/1 over TLS is the driver's, from the handshake on."""

from __future__ import annotations

import trio
import trustme

from fanout.web.driver.limits import Limits
from tests.web.driver.apps import Echo
from tests.web.driver.serving import get, on_socket, until
from tests.web.driver.tls import Certificate, ask, over_tls


async def test_http1_over_tls_is_the_drivers(authority: trustme.CA, certificate: Certificate) -> None:
    app = Echo()
    async with on_socket(app, certificate=certificate) as world:
        stream = await over_tls(world, authority, "http/1.1")
        for path in ("/1", "/2"):
            assert (await ask(stream, get(path)))[2] == f"GET {path}".encode()
        assert app.scopes[0]["scheme"] == "https"
        assert app.scopes[0]["client"] == stream.transport_stream.socket.getsockname()
        await stream.send_all(get("/slow"))
        await until(lambda: app.running)
        stream.transport_stream.socket.close()
        await world.settled()
        assert len(app.told_at) == 1


async def test_a_burst_over_tls_is_served_whole(authority: trustme.CA, certificate: Certificate) -> None:
    async with on_socket(Echo(), certificate=certificate) as world:

        async def one() -> None:
            stream = await over_tls(world, authority, "http/1.1")
            assert (await ask(stream, get()))[0] == 200

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)


async def test_a_handshake_is_bounded_broken_or_drained(certificate: Certificate) -> None:
    async with on_socket(Echo(), Limits(handshake_timeout_s=0.1), certificate=certificate) as world:
        silent, talking = await world.connect(), await world.connect()
        await talking.send(get())
        await silent.rest()
        await talking.rest()
        await world.settled()
        assert world.ended == {"slow_handshake": 1, "broken_handshake": 1}
    async with on_socket(Echo(), certificate=certificate) as world:
        caller = await world.connect()
        await caller.send(bytes.fromhex("1603010200010001fc0303"))
        await world.settled(1)
        with trio.fail_after(1):
            world.shutdown.set()
            assert await caller.closed()
            await world.settled()
            await until(lambda: not world.nursery.child_tasks)
    assert world.ended == {"drained": 1}
