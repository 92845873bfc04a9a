"""A client over TLS gets from the driver what any other client gets, and ends as RFC 8446 has it."""

from __future__ import annotations

import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise

import h2.events
import pytest
import trio
import trustme
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from fanout.server.certificates import Certificate
from fanout.server.limits import Limits
from fanout.server.statistics import DriverStatistics
from fanout.server.tls import STEPS_PER_ITERATION
from tests.server.apps import Echo
from tests.server.serving import Client, SocketWorld, get, on_socket, until
from tests.server.tls_clients import ask, client_context, over_tls

RST = struct.pack("ii", 1, 0)


class Peer:
    """A client of OpenSSL's own, in a thread: it reports an end without close_notify, and a missing alert."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.stream = context.wrap_socket(raw, server_hostname="127.0.0.1", suppress_ragged_eofs=False)

    def says(self, data: bytes) -> bytes:
        """Everything until the end. Raises `ssl.SSLEOFError` if the end was not said."""
        with self.stream:
            self.stream.sendall(data)
            return b"".join(iter(partial(self.stream.recv, 65536), b""))


async def in_thread(world: SocketWorld, authority: trustme.CA, data: bytes) -> bytes:
    context = client_context(authority, "http/1.1")
    return await trio.to_thread.run_sync(lambda: Peer(world.port, context).says(data))


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
        client = await world.connect()
        await client.send(bytes.fromhex("1603010200010001fc0303"))
        await world.settled(1)
        with trio.fail_after(1):
            world.shutdown.set()
            assert await client.closed()
            await world.settled()
            await until(lambda: not world.nursery.child_tasks)
    assert world.ended == {"drained": 1}


LAST_ANSWERS = {
    "connection: close": (get("/", "Connection: close"), b"HTTP/1.1 200"),
    "HTTP/1.0": (get(version="1.0"), b"HTTP/1.1 200"),
    "a 4xx": (b"GET /\r\n\r\n", b"HTTP/1.1 400"),
    "a body that was not read": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123",
        b"HTTP/1.1 200",
    ),
}


@pytest.mark.parametrize(("sent", "begins"), LAST_ANSWERS.values(), ids=LAST_ANSWERS.keys())
async def test_a_connection_that_ends_in_order_says_so(
    sent: bytes, begins: bytes, authority: trustme.CA, certificate: Certificate
) -> None:
    """RFC 8446 6.1: close_notify, or the client cannot tell a whole answer from one that was cut short."""
    async with on_socket(Echo(), certificate=certificate) as world:
        assert (await in_thread(world, authority, sent)).startswith(begins)


async def test_a_handshake_that_fails_is_told_why(authority: trustme.CA, certificate: Certificate) -> None:
    """An alert, not a bare end: the client's log says "no shared cipher", or whatever it is."""
    context = client_context(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-SHA")  # not one of ours
    async with on_socket(Echo(), certificate=certificate) as world:
        with pytest.raises(ssl.SSLError, match="alert"):
            await trio.to_thread.run_sync(lambda: Peer(world.port, context))
        await world.settled()
    assert world.ended == {"broken_handshake": 1}


async def test_session_tickets_are_sent_with_the_handshake(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """Held back until the first answer, nothing carries the client's ACK, and its request waits for that."""
    async with on_socket(Echo(), certificate=certificate) as world:
        raw = (await world.connect()).stream
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context(authority).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await raw.send_all(outgoing.read())
                incoming.write(await raw.receive_some())
        await raw.send_all(outgoing.read())
        with trio.fail_after(5):
            while tls.session is None or not tls.session.has_ticket:
                incoming.write(await raw.receive_some())
                with suppress(ssl.SSLWantReadError):
                    tls.read(1)


async def test_a_slow_head_is_told_so_over_tls(authority: trustme.CA, certificate: Certificate) -> None:
    async with on_socket(Echo(), Limits(head_timeout_s=0.2), certificate=certificate) as world:
        stream = await over_tls(world, authority, "http/1.1")
        await stream.send_all(b"GET / HT")
        client = Client(stream)  # type: ignore[arg-type]  # an SSLStream cannot send EOF, and this test never does
        assert (await client.answer())[0] == 408
        assert await client.closed()
        await world.settled()
    assert world.ended == {"slow_head": 1}


async def test_a_connection_over_the_limit_is_told_so_over_tls(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """And those beyond what may be told so at once are closed: a handshake is work."""
    limits = Limits(max_connections=1, max_rejected=2, linger_timeout_s=60)
    async with on_socket(Echo(slow_s=60), limits, certificate=certificate) as world:
        await (await over_tls(world, authority, "http/1.1")).send_all(get("/slow"))
        await until(lambda: world.driver.statistics().requests)
        rejected = [Client(await over_tls(world, authority, "http/1.1")) for _ in range(2)]  # type: ignore[arg-type]  # a stream, too
        assert [(await client.answer())[0] for client in rejected] == [503, 503]
        closed = await world.connect()
        assert await closed.closed()
        for client in rejected:
            await client.stream.aclose()
        await until(lambda: world.ended.get("over_limit") == 3)
        assert world.driver.statistics().open == 1


async def test_handshakes_that_come_together_are_done_a_few_per_iteration(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """G10. A signature takes up to a millisecond, and a thousand clients may come at once."""
    hellos = 40
    async with on_socket(Echo(), certificate=certificate) as world:
        hello = client_hello(authority)
        clients = [await world.connect() for _ in range(hellos)]
        await world.settled(hellos)
        socks = [client.stream.socket for client in clients]  # type: ignore[attr-defined]  # over a socket it has one
        for sock in socks:  # no other task has a turn in between
            os.write(sock.fileno(), hello)
        answered = [0]
        iterations = 0
        with iterations_counted() as counted:
            while answered[-1] < hellos:
                await trio.lowlevel.checkpoint()
                answered.append(sum(sock.is_readable() for sock in socks))
            iterations = counted()
    steps = [after - before for before, after in pairwise(answered)]
    assert STEPS_PER_ITERATION == 4
    assert max(steps) <= 2 * 4  # those of two iterations may be seen at once
    assert iterations >= hellos / 4


def client_hello(authority: trustme.CA) -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = client_context(authority).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@contextmanager
def iterations_counted() -> Iterator[Callable[[], int]]:
    class Count(trio.abc.Instrument):
        iterations = 0

        def before_io_wait(self, timeout: float) -> None:
            self.iterations += 1

    count = Count()
    trio.lowlevel.add_instrument(count)
    yield lambda: count.iterations
    trio.lowlevel.remove_instrument(count)


async def test_statistics_count_a_rejected_connection_once(certificate: Certificate) -> None:
    async with on_socket(Echo(slow_s=60), Limits(max_connections=0), certificate=certificate) as world:
        client = await world.connect()
        client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)  # type: ignore[attr-defined]  # over a socket it has one
        client.stream.socket.close()  # type: ignore[attr-defined]  # over a socket it has one
        await until(lambda: world.ended.get("over_limit") == 1)
        assert isinstance(world.driver.statistics(), DriverStatistics)
    assert world.driver.statistics().accepted == sum(world.ended.values()) == 1
    assert world.crashes == []


async def test_an_http2_client_over_the_limit_is_told_in_http2(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """G1: no answer of HTTP/1.1 to a client that has agreed on HTTP/2, which takes it for a broken frame."""
    async with on_socket(Echo(slow_s=60), Limits(max_connections=1), certificate=certificate) as world:
        await (await over_tls(world, authority, "http/1.1")).send_all(get("/slow"))
        await until(lambda: world.driver.statistics().requests)
        said = await until_the_end(await over_tls(world, authority, "h2"))
    client = H2Connection()
    client.initiate_connection()
    _, end = client.receive_data(said)
    assert isinstance(end, h2.events.ConnectionTerminated)
    assert (end.error_code, end.last_stream_id) == (ErrorCodes.ENHANCE_YOUR_CALM, 0)


async def test_an_http2_client_that_is_silent_gets_no_answer_of_http1(
    authority: trustme.CA, certificate: Certificate
) -> None:
    async with on_socket(Echo(), Limits(head_timeout_s=0.1), certificate=certificate) as world:
        assert b"HTTP/1.1" not in await until_the_end(await over_tls(world, authority, "h2"))
        await world.settled()
    assert world.ended == {"slow_head": 1}


async def until_the_end(stream: trio.SSLStream[trio.SocketStream]) -> bytes:
    pieces = []
    with trio.fail_after(5):
        while piece := await stream.receive_some():
            pieces.append(piece)
    return b"".join(pieces)
