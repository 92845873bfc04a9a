"""TLS to the upstream: who is trusted, what is sent, what resumption may do, and what an end means."""

from __future__ import annotations

import contextlib
import datetime
import gc
import ssl
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.testing
import trustme

from fanout.upstream.messages import Origin
from fanout.upstream.pool import PooledConnection
from fanout.upstream.tls import VERIFICATION_S, TlsSessions, TlsWire, client_context
from fanout.upstream.transport import PoolTransport
from tests.upstream.raw_server import Authority, RawConnection, RawServer, answer, echo_path, raw_server
from tests.upstream.scripted_wire import ScriptedWire

AUTHORITY = Authority()


@asynccontextmanager
async def running(
    transport: PoolTransport,
) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        trio.open_nursery() as nursery,
        httpx.AsyncClient(transport=transport, timeout=None, trust_env=False) as client,
    ):
        await nursery.start(transport.run)
        yield client
        nursery.cancel_scope.cancel()


def trusting(context: ssl.SSLContext = AUTHORITY.client) -> PoolTransport:
    return PoolTransport(max_connections=4, ssl_context=context)


async def test_a_call_over_tls_and_another_on_the_same_connection() -> None:
    phases: list[str] = []
    async with raw_server(echo_path, AUTHORITY.server) as server, running(trusting()) as client:
        for path in ("/a", "/b"):
            response = await client.get(server.url(path), extensions={"fanout.phase": phases.append})
            assert response.content == path.encode()
        assert server.accepted == 1
    assert phases[:6] == ["connect", "tls", "wait", "receive", "done", "kept"]
    assert phases[6:] == ["reused", "wait", "receive", "done", "kept"]


async def test_the_name_is_sent_and_http_1_1_is_agreed_on() -> None:
    authority, seen = Authority(), []

    def notice(tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        seen.append(name)

    authority.server.sni_callback = notice

    async def agreed(connection: RawConnection) -> None:
        await connection.request()
        assert isinstance(connection.stream, trio.SSLStream)
        await connection.send(answer(str(connection.stream.selected_alpn_protocol()).encode()))

    async with raw_server(agreed, authority.server) as server:
        context = client_context_trusting(authority)
        async with running(trusting(context)) as client:
            assert (await client.get(server.url())).content == b"http/1.1"
    assert seen == ["localhost"]


def client_context_trusting(authority: Authority) -> ssl.SSLContext:
    with authority.ca.cert_pem.tempfile() as ca_file:
        return client_context(Path(ca_file))


@pytest.mark.parametrize("store", ["system", "private"])
def test_verification_is_on_whatever_the_store(store: str, tmp_path: Path) -> None:
    AUTHORITY.ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = client_context(tmp_path / "ca.pem" if store == "private" else None)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    if store == "private":
        assert len(context.get_ca_certs()) == 1  # and nobody else


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("store", ["system", "private"])
def test_every_context_has_the_same_protocols(
    platform: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS and Windows the system's store is asked for each certificate, which truststore does."""
    made: list[object] = []

    class Store(ssl.SSLContext):
        def __init__(self, protocol: int) -> None:
            made.append(protocol)

        def set_alpn_protocols(self, protocols: Iterable[str]) -> None:
            made.append(protocols)
            super().set_alpn_protocols(protocols)

    AUTHORITY.ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("truststore.SSLContext", Store)
    context = client_context(tmp_path / "ca.pem" if store == "private" else None)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.verify_mode is ssl.CERT_REQUIRED
    is_truststore = platform != "linux" and store == "system"
    assert made == ([ssl.PROTOCOL_TLS_CLIENT, ["http/1.1"]] if is_truststore else [])


@pytest.mark.parametrize(
    ("has_file", "directory", "is_system"),
    [
        (True, None, True),
        (True, [], True),
        (False, ["a.pem"], True),
        (False, [], False),
        (False, None, False),
    ],
)
def test_without_a_store_of_the_system_httpxs_bundle_is_trusted(
    has_file: bool,
    directory: list[str] | None,
    is_system: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slim container has the directory, but no certificates in it."""
    folder, bundle = tmp_path / "certs", tmp_path / "bundle.pem"
    trustme.CA(organization_name="Bundle").cert_pem.write_to_path(bundle)
    if directory is not None:
        folder.mkdir()
    for name in directory or ():
        (folder / name).touch()
    paths = ssl.DefaultVerifyPaths(
        cafile="system.pem" if has_file else None,  # type: ignore[arg-type]  # as typeshed's stub does not say
        capath=str(folder) if directory is not None else None,  # type: ignore[arg-type]  # as above
        openssl_cafile_env="",
        openssl_cafile="",
        openssl_capath_env="",
        openssl_capath="",
    )
    monkeypatch.setattr("ssl.get_default_verify_paths", lambda: paths)
    monkeypatch.setattr("certifi.where", lambda: str(bundle))
    assert ("Bundle" in str(client_context().get_ca_certs())) is not is_system


async def test_a_session_is_kept_once_per_origin_and_found_until_its_verification_is_too_old(
    autojump_clock: trio.testing.MockClock,
) -> None:
    one, other = Origin("https", "localhost", 443), Origin("https", "localhost", 8443)
    sessions = TlsSessions(AUTHORITY.client)
    (first, _), (second, _) = await connected(), await connected()
    tls = [wire._tls.openssl for wire in (first, second)]
    for wire in (first, second):
        assert wire.receive_nowait() is None  # the tickets
    assert sessions.find(one) is None

    sessions.keep(one, tls[0], 0.0)
    assert sessions.find(one) == tls[0].session
    sessions.keep(one, tls[1], 200.0)  # it is not verified longer, as the first one is still there
    assert sessions.find(one) == tls[0].session
    assert sessions.find(other) is None

    await trio.sleep(VERIFICATION_S - 0.001)
    assert sessions.find(one) is not None
    await trio.sleep(0.001)
    assert sessions.find(one) is None
    assert not sessions._sessions  # the old one is freed
    sessions.keep(one, tls[1], trio.current_time())
    assert sessions.find(one) == tls[1].session


def test_a_verification_counts_for_five_minutes() -> None:
    """docs/upstream.md says so, and G10's limits."""
    assert VERIFICATION_S == 300


async def test_a_wire_before_its_handshake_has_no_session_to_keep() -> None:
    """Nor one without a ticket: TLS 1.2 without tickets has only the server's memory."""
    sessions, origin = TlsSessions(AUTHORITY.client), Origin("https", "localhost", 443)
    raw = AUTHORITY.client.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
    sessions.keep(origin, raw, 0.0)
    assert sessions.find(origin) is None

    authority = Authority()
    authority.server.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.server.options |= ssl.OP_NO_TICKET
    server = ServerSide(authority.server)
    wire = TlsWire(server, TlsSessions(authority.client), origin)
    await wire.handshake()
    sessions.keep(origin, wire._tls.openssl, 0.0)
    assert sessions.find(origin) is None


async def test_what_is_sent_is_sent_at_once() -> None:
    wire, server = await connected()
    await wire.send_all(b"said")
    assert server.tls.read() == b"said"


async def test_the_end_of_the_wire_below_is_its_own() -> None:
    below = ScriptedWire()
    wire = TlsWire(below, TlsSessions(AUTHORITY.client), Origin("https", "localhost", 443))
    assert wire.has_ended is False
    below.has_ended = True
    assert wire.has_ended is True


async def test_closing_closes_the_wire_below_in_the_same_way_and_forgets_the_sessions() -> None:
    for how in ("close", "abort"):
        sessions = TlsSessions(AUTHORITY.client)
        below = ScriptedWire()
        wire = TlsWire(below, sessions, Origin("https", "localhost", 443))
        tls, owner = weakref.ref(wire._tls.openssl), weakref.ref(sessions)
        del sessions
        getattr(wire, how)()
        gc.collect()
        assert (below.closed, tls(), owner()) == ([how], None, None)


async def test_a_host_that_no_certificate_can_name_is_an_os_error() -> None:
    below = ScriptedWire()
    with pytest.raises(OSError, match=r"server_hostname") as raised:
        TlsWire(below, TlsSessions(AUTHORITY.client), Origin("https", "", 443))
    assert isinstance(raised.value.__cause__, ValueError)
    assert below.closed == []


def test_a_ca_file_that_cannot_be_used_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(OSError, match=r"."):
            client_context(tmp_path / name)


def impostors() -> dict[str, tuple[ssl.SSLContext, ssl.SSLContext]]:
    """A server's context and the client's that must not accept it."""

    def server(ca: trustme.CA, *names: str, **options: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ca.issue_cert(*names, **options).configure_cert(context)
        return context

    long_ago = datetime.datetime(2020, 1, 1)
    ca = trustme.CA()
    client = ssl.create_default_context()
    ca.configure_trust(client)
    return {
        "another name": (server(ca, "elsewhere.test"), client),
        "an unknown authority": (server(trustme.CA(), "localhost"), client),
        "expired": (server(ca, "localhost", not_before=long_ago, not_after=long_ago), client),
        "an old protocol": (no_newer_than_tls_1_1(server(ca, "localhost")), client),
    }


def no_newer_than_tls_1_1(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.parametrize("name", ["another name", "an unknown authority", "expired", "an old protocol"])
async def test_an_impostor_is_a_connect_error_and_never_sees_the_request(name: str) -> None:
    server_context, context = impostors()[name]
    seen = []

    async def note(connection: RawConnection) -> None:
        seen.append(await connection.request())

    transport = trusting(context)
    async with raw_server(note, server_context) as server, running(transport) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(server.url())
    assert not any(seen)
    assert transport.statistics().origins[0].failed_connects == 1


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""], ids=["plain HTTP", "nothing"])
async def test_a_server_that_speaks_no_tls_is_a_connect_error(says: bytes) -> None:
    async def speak(connection: RawConnection) -> None:
        await connection.stream.receive_some(1)
        await connection.send(says)

    async with raw_server(speak) as server, running(trusting()) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(server.url().replace("http:", "https:"))


async def test_a_handshake_that_hangs_ends_with_the_clients_scope() -> None:
    closed = trio.Event()

    async def hang(connection: RawConnection) -> None:
        try:
            while await connection.stream.receive_some(65536):
                pass
        finally:
            closed.set()

    transport = trusting()
    async with raw_server(hang) as server, running(transport) as client:
        with trio.move_on_after(0.05) as scope:
            await client.get(server.url().replace("http:", "https:"))
        assert scope.cancelled_caught
        with trio.fail_after(5):
            await closed.wait()
    assert transport.statistics().origins[0].in_use == 0


async def resumed(server: RawServer, client: httpx.AsyncClient) -> bool:
    return (await client.get(server.url())).content == b"resumed"


async def tell_whether_resumed(connection: RawConnection) -> None:
    """One answer a connection."""
    await connection.request()
    assert isinstance(connection.stream, trio.SSLStream)
    word = b"resumed" if connection.stream.session_reused else b"full"
    await connection.send(answer(word, b"Connection: close"))


async def test_the_second_connection_resumes_the_session_of_the_first() -> None:
    async with raw_server(tell_whether_resumed, AUTHORITY.server) as server, running(trusting()) as client:
        assert [await resumed(server, client) for _ in range(4)] == [False, True, True, True]


async def test_a_session_is_resumed_only_for_so_long_after_a_full_verification(
    mock_clock: trio.testing.MockClock,
) -> None:
    """To resume does not prolong it: an upstream whose certificate has expired is found out."""
    async with raw_server(tell_whether_resumed, AUTHORITY.server) as server:
        transport = trusting()
        async with httpx.AsyncClient(transport=transport, timeout=None, trust_env=False) as client:
            url = server.url().replace("localhost", "127.0.0.1")

            async def is_resumed() -> bool:
                return (await client.get(url)).content == b"resumed"

            assert not await is_resumed()
            for _ in range(3):
                mock_clock.jump(VERIFICATION_S / 4)
                assert await is_resumed()
            mock_clock.jump(VERIFICATION_S / 4)
            assert not await is_resumed()
            assert await is_resumed()


async def test_an_answer_after_the_end_of_the_verification_does_not_begin_it_again(
    mock_clock: trio.testing.MockClock,
) -> None:
    """A session resumed just before, whose answer comes just after: each such call would prolong it."""
    within_s = 0.2

    async def answer_later(connection: RawConnection) -> None:
        await connection.request()
        assert isinstance(connection.stream, trio.SSLStream)
        word = b"full"
        if connection.stream.session_reused:
            word = b"resumed"
            mock_clock.jump(within_s)
        await connection.send(answer(word, b"Connection: close"))

    async with raw_server(answer_later, AUTHORITY.server) as server:
        async with httpx.AsyncClient(transport=trusting(), timeout=None, trust_env=False) as client:
            url = server.url().replace("localhost", "127.0.0.1")
            said = [(await client.get(url)).content]
            mock_clock.jump(VERIFICATION_S - within_s / 2)
            said += [(await client.get(url)).content for _ in range(2)]
    assert said == [b"full", b"resumed", b"full"]


class ServerSide:
    """A wire whose other end is a TLS server, without a network: `tls` is the server's half."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.has_ended = self.has_part = False

    @property
    def has_something_to_say(self) -> bool:
        return self._outgoing.pending > 0

    def delivers(self, count: int) -> None:
        """Of what it has to say only the first bytes."""
        self._outgoing.write(self._outgoing.read()[:count])

    def on_news(self, tell: Callable[[], bool]) -> None:
        raise NotImplementedError("no pool keeps this wire")

    async def send_all(self, data: bytes) -> None:
        self._incoming.write(data)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()

    def send_now(self, data: bytes) -> bool:
        self._incoming.write(data)
        return True

    async def receive(self) -> bytes:
        data = self.receive_nowait()
        assert data is not None, "it would wait for ever"
        return data

    def receive_nowait(self) -> bytes | None:
        return self._outgoing.read() or (b"" if self.has_ended else None)

    def close(self) -> None:
        """Its memory is the test's."""

    abort = close


async def connected() -> tuple[TlsWire, ServerSide]:
    server = ServerSide(AUTHORITY.server)
    wire = TlsWire(server, TlsSessions(AUTHORITY.client), Origin("https", "localhost", 443))
    await wire.handshake()
    return wire, server


async def test_session_tickets_do_not_make_a_connection_look_answered() -> None:
    """They arrive after the handshake and are nothing that the upstream said."""
    wire, server = await connected()
    assert server.has_something_to_say
    assert wire.receive_nowait() is None
    server.tls.write(b"said")
    assert wire.receive_nowait() == b"said"


@pytest.mark.parametrize("came", [1, 4, 5, 10])
async def test_a_connection_with_a_part_of_a_record_is_not_used_again(came: int) -> None:
    """The rest of it may be an answer that nobody asked for."""
    wire, server = await connected()
    connection = PooledConnection()
    connection.wire = wire
    assert connection.is_reusable()
    server.tls.write(b"unasked")
    server.delivers(came)
    assert not connection.is_reusable()


async def test_what_is_sent_without_waiting_is_encrypted_too() -> None:
    wire, server = await connected()
    assert wire.send_now(b"{}")
    assert server.tls.read(10) == b"{}"


async def test_nothing_keeps_a_tls_wire_from_being_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed in clean-ups, where an exception would keep others from running."""
    wire, server = await connected()
    closed: list[bool] = []

    def without_memory(data: bytes) -> bool:
        raise MemoryError

    monkeypatch.setattr(server, "send_now", without_memory)
    monkeypatch.setattr(server, "close", lambda: closed.append(True))
    wire.close()
    assert closed == [True]


async def test_a_tls_wire_ends_properly_or_with_an_error() -> None:
    """Without a close_notify, anybody on the way may have cut the answer short."""
    wire, server = await connected()
    server.tls.write(b"{}")
    assert await wire.receive() == b"{}"
    with contextlib.suppress(ssl.SSLWantReadError):
        server.tls.unwrap()
    assert await wire.receive() == b""

    wire, server = await connected()
    server.tls.write(b"{}")
    server.has_ended = True
    assert await wire.receive() == b"{}"
    with pytest.raises(OSError, match="EOF"):
        await wire.receive()


async def test_a_body_that_ends_with_its_connection_and_without_a_proper_end_is_an_error() -> None:
    async def cut_short(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\n{}")

    async with raw_server(cut_short, AUTHORITY.server) as server, running(trusting()) as client:
        with pytest.raises(httpx.ReadError):
            await client.get(server.url())
