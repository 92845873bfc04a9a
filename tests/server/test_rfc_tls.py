"""TLS ends as RFC 8446 6 and RFC 9112 9.8 have it, however the connection ends. On real sockets."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trustme

from fanout.server.certificates import Certificate
from fanout.server.limits import Limits
from tests.blackbox.front_door.http2_frames import PING, frame
from tests.server.apps import Echo
from tests.server.http2 import H2Client, request
from tests.server.serving import SocketWorld, get, on_socket, until
from tests.server.tls_clients import client_context

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
ALERT = 0x15


class Peer:
    """A client whose records are seen. It sends no close_notify, and reads until the end of the socket."""

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext) -> None:
        self.stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")
        self.records: list[int] = []  # the types of those that came
        self._ahead = b""

    async def step(self, call: Callable[[], Any]) -> Any:
        """The result of `call`, with as many records as it takes. `b""` at the end of the socket."""
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                await self.stream.send_all(self._outgoing.read())
                data = await self.stream.receive_some(65536)
                if not data:
                    self._incoming.write_eof()
                    return call()
                self._note(bytes(data))
                self._incoming.write(data)

    def _note(self, data: bytes) -> None:
        self._ahead += data
        while len(self._ahead) >= 5 and len(self._ahead) >= 5 + int.from_bytes(self._ahead[3:5], "big"):
            self.records.append(self._ahead[0])
            self._ahead = self._ahead[5 + int.from_bytes(self._ahead[3:5], "big") :]

    async def handshake(self) -> None:
        await self.step(self.tls.do_handshake)
        await self.stream.send_all(self._outgoing.read())

    async def send_all(self, data: bytes) -> None:
        self.tls.write(data)
        await self.stream.send_all(self._outgoing.read())

    async def receive_some(self, max_bytes: int = 65536) -> bytes:
        """Raises `ssl.SSLEOFError` for a bare FIN, and `ssl.SSLError` with the name of an alert."""
        try:
            return await self.step(lambda: self.tls.read(max_bytes)) or b""
        except ssl.SSLZeroReturnError:
            return b""

    async def rest(self) -> bytes:
        pieces = []
        while piece := await self.receive_some():
            pieces.append(piece)
        return b"".join(pieces)


async def connect(world: SocketWorld, authority: trustme.CA, version: str = "1.3", *alpn: str) -> Peer:
    context = client_context(authority, *alpn)
    context.minimum_version = context.maximum_version = VERSIONS[version]
    stream = (await world.connect()).stream
    assert isinstance(stream, trio.SocketStream)
    peer = Peer(stream, context)
    await peer.handshake()
    return peer


CLOSING = {
    "connection: close": (get("/", "Connection: close"), 200),
    "HTTP/1.0": (get(version="1.0"), 200),
    "400": (b"GET /\r\n\r\n", 400),
    "414": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n", 414),
    "417": (get("/", "Expect: x"), 417),
    "431": (get("/", "X: " + "x" * 20_000), 431),
    "501": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "505": (b"GET / HTTP/1.2\r\n\r\n", 505),
    "an answer before its request's body": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123",
        200,
    ),
    "the rest of a slow head": (b"GET / HT", 408),
    "no request in time": (b"", None),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CLOSING)
async def test_a_connection_of_http_1_that_ends_says_so(
    name: str, version: str, authority: trustme.CA, certificate: Certificate
) -> None:
    """RFC 8446 6.1: each party MUST send a close_notify alert before closing its write side."""
    sent, status = CLOSING[name]
    limits = Limits(  # short only where that is the end: on a busy machine this client is slow itself
        head_timeout_s=0.1 if status == 408 else 10, idle_timeout_s=75 if sent else 0.2, linger_timeout_s=0.1
    )
    async with on_socket(Echo(), limits, certificate=certificate) as world:
        peer = await connect(world, authority, version)
        await peer.send_all(sent)
        got = await peer.rest()  # raises SSLEOFError for a bare FIN
        assert got.startswith(b"HTTP/1.1 %d " % status if status else b"")
        assert bool(got) == bool(status)
        if version == "1.2":  # there the type of a record is not encrypted
            assert peer.records.count(ALERT) == 1
            assert peer.records[-1] == ALERT
        await world.settled()


async def test_a_request_that_is_shed_ends_with_close_notify(
    authority: trustme.CA, certificate: Certificate
) -> None:
    shed = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"
    async with on_socket(Echo(), refuse=lambda beginning: shed, certificate=certificate) as world:
        peer = await connect(world, authority)
        await peer.send_all(get("/", "Connection: close"))
        assert (await peer.rest()).endswith(b"busy")


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_a_connection_over_the_limit_ends_with_close_notify(
    alpn: str, authority: trustme.CA, certificate: Certificate
) -> None:
    async with on_socket(Echo(), Limits(max_connections=0), certificate=certificate) as world:
        peer = await connect(world, authority, "1.3", alpn)
        assert await peer.rest()


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_a_shutdown_ends_idle_connections_with_close_notify(
    alpn: str, authority: trustme.CA, certificate: Certificate
) -> None:
    async with on_socket(Echo(), certificate=certificate) as world:
        peer = await connect(world, authority, "1.3", alpn)
        if alpn == "h2":
            client = H2Client(peer)  # type: ignore[arg-type] # it sends and receives
            await client.send(request())
            await client.ended()
        else:
            await peer.send_all(get())
            await peer.receive_some()
        world.shutdown.set()
        await peer.rest()
        await until(lambda: world.ended == {"drained": 1})


async def after_garbage(client: H2Client) -> None:
    await client.stream.send_all(frame(0x1, 0x5, 1, b"\xff" * 20))


async def after_a_flood(client: H2Client) -> None:
    await client.stream.send_all(frame(PING, 0, 0, bytes(8)) * 50)


async def after_its_own_goodbye(client: H2Client) -> None:
    client.connection.close_connection()
    await client.flush()


async def after_silence(client: H2Client) -> None:
    pass


@pytest.mark.parametrize("after", [after_garbage, after_a_flood, after_its_own_goodbye, after_silence])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_connection_of_http_2_that_ends_says_so(
    version: str,
    after: Callable[[H2Client], Awaitable[None]],
    authority: trustme.CA,
    certificate: Certificate,
) -> None:
    """Behind the GOAWAY, where there is one. RFC 9113 9.1: "before closing a TCP connection"."""
    limits = Limits(max_spare_frames=20, idle_timeout_s=0.2, linger_timeout_s=0.1)
    async with on_socket(Echo(), limits, certificate=certificate) as world:
        peer = await connect(world, authority, version, "h2")
        client = H2Client(peer)  # type: ignore[arg-type] # as above
        await client.send(request())
        await client.ended()
        await after(client)
        await peer.rest()
        await world.settled()
        assert world.crashes == []


# Nobody waits for the client


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_the_server_does_not_wait_for_the_clients_close_notify(
    alpn: str, authority: trustme.CA, certificate: Certificate
) -> None:
    """RFC 9112 9.8: servers MAY close the connection after sending the closure alert. G10."""
    async with on_socket(Echo(), Limits(linger_timeout_s=0.1), certificate=certificate) as world:
        peer = await connect(world, authority, "1.3", alpn)
        if alpn == "h2":
            await peer.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100))
        else:
            await peer.send_all(b"GET /\r\n\r\n")
        with trio.fail_after(2):
            await world.settled()  # while the client neither reads nor closes
        await peer.rest()


async def test_a_client_that_reads_nothing_holds_no_ending_connection(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """G10: what cannot be written within its bound is dropped, with the close_notify. The end is an RST."""
    limits = Limits(write_timeout_s=0.2, linger_timeout_s=0.2)
    async with on_socket(Echo(), limits, certificate=certificate) as world:
        peer = await connect(world, authority)
        await peer.send_all(get("/big", "Connection: close"))
        with trio.fail_after(5):
            await until(lambda: world.ended)
        assert world.ended == {"slow_reader": 1}
        with pytest.raises((trio.BrokenResourceError, ssl.SSLError)):
            await peer.rest()  # never a close_notify behind a part of an answer


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_close_notify_of_the_client_is_answered(
    version: str, authority: trustme.CA, certificate: Certificate
) -> None:
    """RFC 5246 7.2.1: "the other party MUST respond with a close_notify alert of its own"."""
    async with on_socket(Echo(), certificate=certificate) as world:
        peer = await connect(world, authority, version)
        with suppress(ssl.SSLWantReadError):
            peer.tls.unwrap()
        await peer.stream.send_all(peer._outgoing.read())
        await peer.step(peer.tls.unwrap)  # raises SSLEOFError without it
        await world.settled()
        assert world.ended == {"client_disconnected": 1}


# Alerts


async def answer_to(world: SocketWorld, sent: bytes) -> bytes:
    client = await world.connect()
    await client.send(sent)
    return await client.rest()


def hello(authority: trustme.CA, configure: Callable[[ssl.SSLContext], object]) -> bytes:
    context = client_context(authority)
    configure(context)
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def only_old_ciphers(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-SHA")


def old_version(data: bytes) -> bytes:
    """The hello of a client that speaks TLS 1.1 at best."""
    return data[:9] + b"\x03\x02" + data[11:]


def only_1_2(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


FATAL = 2


@pytest.mark.parametrize(
    ("make", "alert"),
    [
        (lambda authority: hello(authority, only_old_ciphers), 40),  # handshake_failure
        (lambda authority: old_version(hello(authority, only_1_2)), 70),  # protocol_version
        (lambda authority: b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 50),  # decode_error: an empty hello
        (lambda authority: b"\x17\x03\x03\x00\x01x", 10),  # unexpected_message
        (lambda authority: b"\x16\x03\x01\xff\xff" + bytes(65_535), 22),  # record_overflow
    ],
    ids=["no cipher", "an old version", "an empty hello", "data instead of a hello", "a record too long"],
)
async def test_a_handshake_that_fails_ends_with_an_alert(
    make: Callable[[trustme.CA], bytes], alert: int, authority: trustme.CA, certificate: Certificate
) -> None:
    """RFC 8446 6.2: "an implementation SHOULD send an appropriate fatal alert"."""
    async with on_socket(Echo(), certificate=certificate) as world:
        got = await answer_to(world, make(authority))
        assert (got[0], got[-2:]) == (ALERT, bytes((FATAL, alert)))
        await world.settled()
        assert world.ended == {"broken_handshake": 1}
    assert world.crashes == []


RECORDS = {
    "a record that cannot be decrypted": (b"\x17\x03\x03\x00\x20" + bytes(32), "BAD_RECORD_MAC"),
    "a record that is too long": (b"\x17\x03\x03\xff\xff" + bytes(65_535), "RECORD_OVERFLOW"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RECORDS)
async def test_a_broken_record_ends_with_one_alert(
    name: str, version: str, authority: trustme.CA, certificate: Certificate
) -> None:
    """RFC 8446 6.1: no close_notify behind it. 6.2: both parties MUST immediately close the connection."""
    sent, alert = RECORDS[name]
    async with on_socket(Echo(), certificate=certificate) as world:
        peer = await connect(world, authority, version)
        await peer.stream.send_all(sent)
        with pytest.raises(ssl.SSLError, match=alert):
            await peer.rest()
        with suppress(trio.BrokenResourceError):
            while data := await peer.stream.receive_some():
                peer._note(bytes(data))
        if version == "1.2":
            assert peer.records.count(ALERT) == 1
        await world.settled()
    assert world.crashes == []


# The handshake

HANDSHAKE, CHANGE_CIPHER_SPEC = 0x16, 0x14


async def test_a_client_with_a_session_id_gets_the_change_cipher_spec_that_middleboxes_look_for(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """RFC 8446 D.4: "if the client sends a non-empty session ID, the server MUST send the
    change_cipher_spec". OpenSSL's clients send one."""
    async with on_socket(Echo(), certificate=certificate) as world:
        peer = await connect(world, authority)
        assert peer.records[:2] == [HANDSHAKE, CHANGE_CIPHER_SPEC]


async def test_compression_stays_off(
    authority: trustme.CA, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 9113 9.2.1: "A deployment of HTTP/2 over TLS 1.2 MUST disable compression". Hypercorn does, and
    an option of ours must not undo it. No client of OpenSSL's here could offer it, so its setting is read."""
    servers = []
    wrap_bio = ssl.SSLContext.wrap_bio

    def noted(context: ssl.SSLContext, *args: Any, **options: Any) -> ssl.SSLObject:
        if options.get("server_side"):
            servers.append(context)
        return wrap_bio(context, *args, **options)

    monkeypatch.setattr(ssl.SSLContext, "wrap_bio", noted)
    async with on_socket(Echo(), certificate=certificate) as world:
        await connect(world, authority, "1.2")
    assert [bool(context.options & ssl.OP_NO_COMPRESSION) for context in servers] == [True]


# The first request


async def test_the_first_request_does_not_wait_for_a_delayed_ack(
    authority: trustme.CA, certificate: Certificate
) -> None:
    """The kernel of a client without TCP_NODELAY holds its request back until the last packet of the
    handshake is acknowledged: by the session tickets, or by the kernel of the server after 40 ms."""
    context = client_context(authority, "http/1.1")
    async with on_socket(Echo(), certificate=certificate) as world:
        took_s = [await trio.to_thread.run_sync(first_request_s, world.port, context) for _ in range(5)]
    assert min(took_s) < 0.03


def first_request_s(port: int, context: ssl.SSLContext) -> float:
    """How long a first request takes, of a client of TLS 1.3 that leaves Nagle's algorithm on."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=5)
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as tls:
        began = time.monotonic()
        tls.sendall(get())
        assert tls.recv(65536).startswith(b"HTTP/1.1 200")
        return time.monotonic() - began
