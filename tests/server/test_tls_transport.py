"""TLS over a transport that records what is done with it: what is passed on, when, and what is waited for."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress

import pytest
import trio
import trio.testing
import trustme
from trio.testing import MockClock

from fanout.loop.turns import Turns
from fanout.server.certificates import Certificate, load_certificate
from fanout.server.tls import TlsTransport
from tests.server.recorded import Recorded
from tests.server.tls_clients import client_context

ALERT, HANDSHAKE, DATA = 0x15, 0x16, 0x17
OPENSSL = r"^\[SSL: \w+\]"  # how its own words about an error begin


class CountedTurns(Turns):
    def __init__(self) -> None:
        super().__init__(1)
        self.taken = 0

    async def next(self) -> None:
        self.taken += 1
        await super().next()


class Below(Recorded):
    """What the client sends next is made when it is received; `None` is the end."""

    def __init__(self, *, takes: bool = True, flush_s: float = 0.0) -> None:
        super().__init__(takes=takes, flush_s=flush_s)
        self.client, self.server = ("192.0.2.1", 1), ("192.0.2.2", 2)
        self.next: list[Callable[[], bytes]] = []

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.next.pop(0)() if self.next else b""

    def has_bytes(self) -> bool:
        return bool(self.next)


class Secured:
    """A server's transport and its client, of OpenSSL's own, between two memory buffers. TLS 1.2, so that
    the types of records are seen and each side speaks only when it is its turn."""

    def __init__(self, authority: trustme.CA, certificate: Certificate, **below: float) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_certificate(context, certificate.chain, certificate.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.below = Below(takes=bool(below.get("takes", True)), flush_s=below.get("flush_s", 0.0))
        self.turns = CountedTurns()
        self.transport = TlsTransport(self.below, context, self.turns)
        self._to_client, self._to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        clients = client_context(authority, "http/1.1")
        clients.maximum_version = ssl.TLSVersion.TLSv1_2
        self.client = clients.wrap_bio(self._to_client, self._to_server, server_hostname="127.0.0.1")
        self._heard = 0

    def hear(self) -> None:
        """The client gets what the server has sent since."""
        sent = [what for what in self.below.done if isinstance(what, bytes)]
        self._to_client.write(b"".join(sent[self._heard :]))
        self._heard = len(sent)

    def says(self, data: bytes = b"") -> bytes:
        """What the client sends: of the handshake, or this."""
        self.hear()
        if data:
            self.client.write(data)
        else:
            with suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
        return self._to_server.read()

    async def agreed(self) -> str | None:
        self.below.next += [self.says, self.says]
        protocol = await self.transport.handshake()
        self.says()
        self.below.done.clear()
        self._heard = 0
        return protocol

    def records(self) -> list[int]:
        """The types of the records that were sent."""
        data, types = b"".join(what for what in self.below.done if isinstance(what, bytes)), []
        while data:
            types.append(data[0])
            data = data[5 + int.from_bytes(data[3:5], "big") :]
        return types


async def test_a_handshake_has_a_turn_for_each_of_its_steps(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    """Rule 2. And each step is with the kernel before the next is waited for."""
    here = Secured(authority, certificate, takes=False, flush_s=3)
    assert await here.agreed() == "http/1.1"
    assert here.turns.taken == 2
    assert trio.current_time() == 6
    assert (here.transport.scheme, here.transport.client) == ("https", ("192.0.2.1", 1))
    assert here.transport.server == ("192.0.2.2", 2)


async def test_a_client_that_leaves_before_its_handshake_takes_no_turn(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    """A health check that only connects costs neither OpenSSL's memory nor its time."""
    here = Secured(authority, certificate)
    with pytest.raises(trio.BrokenResourceError):
        await here.transport.handshake()
    assert (here.turns.taken, here.below.done) == (0, [])


async def test_before_the_handshake_nothing_can_be_said(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    here = Secured(authority, certificate)
    with pytest.raises(trio.BrokenResourceError):
        here.transport.send_now(b"x")
    with pytest.raises(trio.BrokenResourceError):
        await here.transport.receive()
    here.below.next += [here.says, lambda: b""]
    with pytest.raises(trio.BrokenResourceError):
        await here.transport.handshake()
    before = list(here.below.done)
    with pytest.raises(trio.BrokenResourceError):  # keys are half agreed on
        here.transport.send_now(b"x")
    here.transport.close()
    assert here.below.done == [*before, "close"]


async def test_what_is_sent_is_encrypted_and_the_kernel_has_it_or_not(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    for takes in (True, False):
        here = Secured(authority, certificate, takes=takes)
        await here.agreed()
        assert here.transport.send_now(b"hello") == takes
        assert here.records() == [DATA]
        here.hear()
        assert here.client.read() == b"hello"


async def test_to_flush_is_to_flush_what_is_below(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    here = Secured(authority, certificate, takes=False, flush_s=3)
    await here.agreed()
    began = trio.current_time()
    await here.transport.flush()
    assert trio.current_time() - began == 3


async def test_what_is_received_is_decrypted_and_a_part_of_a_record_waited_for(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    here = Secured(authority, certificate)
    await here.agreed()
    record = here.says(b"hello")
    here.below.next += [lambda: record[:7], lambda: record[7:], lambda: here.says(b"again")]
    assert await here.transport.receive() == b"hello"
    assert await here.transport.receive() == b"again"
    assert await here.transport.receive() == b""  # FIN


async def test_records_that_have_come_are_bytes_that_have_come(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    """With OpenSSL, or with the transport below. A client that always sends waits like the others."""
    here = Secured(authority, certificate)
    assert not here.transport.has_bytes()
    await here.agreed()
    assert not here.transport.has_bytes()
    records = b"".join(here.says(b"%02d" % number) for number in range(80))  # one call takes 64
    here.below.next.append(lambda: records)
    assert here.transport.has_bytes()
    assert await here.transport.receive() == b"".join(b"%02d" % number for number in range(64))
    assert here.transport.has_bytes()
    with trio.testing.assert_checkpoints():
        assert await here.transport.receive() == b"".join(b"%02d" % number for number in range(64, 80))
    assert not here.transport.has_bytes()


async def test_a_record_that_is_broken_is_answered_with_an_alert_and_breaks_the_transport(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    here = Secured(authority, certificate)
    await here.agreed()
    here.below.next.append(lambda: b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(trio.BrokenResourceError, match=OPENSSL):
        await here.transport.receive()
    assert here.records() == [ALERT]
    here.transport.close()
    assert here.records() == [ALERT]


async def test_what_comes_after_the_end_was_said_is_counted_and_not_decrypted(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    """It is read on, so that closing sends no RST: also bytes that are no record."""
    here = Secured(authority, certificate)
    await here.agreed()
    await here.transport.send_eof()
    assert here.records() == [ALERT]
    assert here.below.done[-1] == "eof"
    here.below.next.append(lambda: b"no record")
    assert await here.transport.receive() == b"no record"
    assert await here.transport.receive() == b""


@pytest.mark.parametrize("times", [1, 2])
async def test_the_end_is_said_once(
    times: int, authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    here = Secured(authority, certificate)
    await here.agreed()
    await here.transport.send_eof()
    for _ in range(times):
        here.transport.close()
    assert here.records() == [ALERT]
    assert [what for what in here.below.done if isinstance(what, str)] == ["eof", *["close"] * times]
    here.hear()
    assert here.client.read() == b""  # raises SSLEOFError without it


async def test_to_close_says_the_end_as_well(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    """Behind which nothing can be said."""
    here = Secured(authority, certificate)
    await here.agreed()
    here.transport.close()
    assert here.records() == [ALERT]
    assert here.below.done[-1] == "close"
    with pytest.raises(trio.BrokenResourceError, match=OPENSSL):
        here.transport.send_now(b"x")


async def test_a_handshake_that_fails_breaks_the_transport_behind_its_alert(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    here = Secured(authority, certificate)
    here.below.next.append(lambda: b"\x17\x03\x03\x00\x01x")  # data instead of a hello
    with pytest.raises(trio.BrokenResourceError, match=OPENSSL):
        await here.transport.handshake()
    assert here.records() == [ALERT]


async def test_a_reset_says_nothing(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    """Rule 3 is about connections that end in order: the client must not take a part for the whole."""
    here = Secured(authority, certificate)
    await here.agreed()
    here.transport.abort()
    here.transport.close()
    assert here.below.done == ["abort", "close"]


async def test_a_goodbye_to_a_client_that_is_gone_raises_nothing(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    here = Secured(authority, certificate)
    await here.agreed()
    here.below.is_broken = True
    await here.transport.send_eof()
    here.transport.close()
    assert here.below.done == ["eof", "close"]


async def test_who_watches_watches_what_is_below(
    authority: trustme.CA, certificate: Certificate, autojump_clock: MockClock
) -> None:
    here = Secured(authority, certificate)
    left = []
    here.transport.watch(lambda: left.append(True))
    assert here.below.client_left is not None
    here.below.client_left()
    assert left == [True]
