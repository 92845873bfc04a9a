"""What a transport is by itself: its addresses, and what it does unless an implementation says otherwise."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from fanout.server.connection import Connection
from fanout.server.limits import Limits
from fanout.server.timeouts import Timeouts
from fanout.server.transport import SocketTransport
from tests.server.recorded import Recorded


def accepted(family: socket.AddressFamily, host: str) -> tuple[SocketTransport, socket.socket]:
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        listening.listen()
        client = socket.create_connection(listening.getsockname()[:2])
        return SocketTransport(listening.accept()[0]), client


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_its_addresses_are_a_host_and_a_port(family: socket.AddressFamily, host: str) -> None:
    """Of IPv6 as well, whose addresses have two parts more."""
    transport, client = accepted(family, host)
    with client:
        assert transport.scheme == "http"
        assert transport.client == client.getsockname()[:2]
        assert transport.server == client.getpeername()[:2]
        transport.close()


def test_of_a_client_that_is_gone_nothing_is_known() -> None:
    with socket.socket() as never_connected:
        transport = SocketTransport(never_connected)
        assert (transport.client, transport.server) == (None, ("0.0.0.0", 0))  # noqa: S104 - not bound


def test_a_socket_without_a_host_has_no_address() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = SocketTransport(ours)
        assert (transport.client, transport.server) == (None, None)


async def test_without_tls_there_is_nothing_to_agree_on(autojump_clock: MockClock) -> None:
    transport, client = accepted(socket.AF_INET, "127.0.0.1")
    with client:
        assert await transport.handshake() is None
        transport.close()


async def test_what_the_kernel_takes_at_once_is_not_waited_for(autojump_clock: MockClock) -> None:
    for takes, waited_s in ((True, 0), (False, 5)):
        transport, began = Recorded(takes=takes, flush_s=5), trio.current_time()
        await Connection(Timeouts(Limits()), transport).send(b"x")
        assert (transport.done, trio.current_time() - began) == ([b"x"], waited_s)


def accepts(*pieces: bytes) -> Callable[[bytes], bool]:
    return lambda data: data in pieces


async def test_what_is_dealt_with_is_skipped(autojump_clock: MockClock) -> None:
    """And the end is returned without a question."""
    transport = Recorded(b"a", b"b", b"a")
    assert await transport.receive_unless(accepts(b"a")) == b"b"
    assert await transport.receive_unless(accepts(b"a", b"")) == b""
