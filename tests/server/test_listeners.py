"""Listening sockets: every address that a setting names, or none and one line that says what to do."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fanout.config import Bind
from fanout.server.listeners import BACKLOG, ListenError, open_listeners

LOCAL = Bind("127.0.0.1", 0)
NO_OTHER = "192.0.2.1"  # an address for documents, which no machine has


@contextmanager
def listening(bind: Bind) -> Iterator[list[socket.socket]]:
    with ExitStack() as opened:
        yield [opened.enter_context(sock) for sock in open_listeners(bind, "FANOUT_BIND")]


def refused(bind: Bind) -> str:
    """What is said, once it is certain that no descriptor is left."""
    before = descriptors()
    with pytest.raises(ListenError) as raised:
        open_listeners(bind, "FANOUT_BIND")
    assert descriptors() == before
    assert "\n" not in str(raised.value)
    return str(raised.value)


def descriptors() -> set[str]:
    return {fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}


def named(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Every name has these addresses."""
    found = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, **asked: int) -> list[object]:
        return [entry for each in hosts for entry in found(each, port, **asked)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def without_ipv6(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """No address of IPv6 can be bound: that fails with this error."""
    bind = socket.socket.bind

    def refusing(sock: socket.socket, address: tuple[str, int]) -> None:
        if sock.family == socket.AF_INET6:
            raise OSError(number, os.strerror(number))
        bind(sock, address)

    monkeypatch.setattr(socket.socket, "bind", refusing)


def test_a_listener_is_there_for_a_burst_and_never_waits() -> None:
    with listening(LOCAL) as [sock]:
        assert sock.getsockname()[0] == "127.0.0.1"
        assert not sock.getblocking()
        # Of a listening socket the kernel reports the length of its queue in the place of `tcpi_sacked`.
        [queue] = struct.unpack_from("28xI", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32))
        assert queue == min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text("ascii")))
        with socket.create_connection(sock.getsockname()):
            sock.accept()[0].close()


def test_a_port_can_be_listened_on_again_at_once() -> None:
    """A restart does not wait until the kernel has forgotten the connections that the server has closed."""
    with listening(LOCAL) as [first]:
        address = first.getsockname()
        with socket.create_connection(address) as client:
            first.accept()[0].close()
            assert client.recv(1) == b""
    with listening(Bind(*address)) as [again]:
        assert again.getsockname() == address


def test_every_address_of_a_name_is_listened_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(LOCAL) as [sock]:
        port = sock.getsockname()[1]
    named(monkeypatch, "127.0.0.1", "127.0.0.2", "127.0.0.1")
    with listening(Bind("a.name", port)) as opened:
        assert [sock.getsockname() for sock in opened] == [("127.0.0.1", port), ("127.0.0.2", port)]


def test_any_free_port_is_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two addresses would get two ports, and the ready line has one."""
    named(monkeypatch, "127.0.0.1", "127.0.0.2")
    with listening(Bind("a.name", 0)) as opened:
        assert [sock.getsockname()[0] for sock in opened] == ["127.0.0.1"]


@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
def test_all_addresses_of_ipv6_are_none_of_ipv4() -> None:
    """So that a setting means the same on every system, whatever its default."""
    with listening(Bind("::", 0)) as [sock]:
        port = sock.getsockname()[1]
        with listening(Bind("0.0.0.0", port)):  # noqa: S104 - for a moment, and nobody accepts
            pass


def test_a_port_in_use_is_said() -> None:
    with listening(LOCAL) as [sock]:
        port = sock.getsockname()[1]
        assert refused(Bind("127.0.0.1", port)) == (
            f"FANOUT_BIND=127.0.0.1:{port}: cannot listen: address already in use. "
            "Stop the program that uses the port, or set FANOUT_BIND to another one (port 0: any free one)"
        )


def test_a_foreign_address_is_said() -> None:
    assert refused(Bind(NO_OTHER, 1234)) == (
        f"FANOUT_BIND={NO_OTHER}:1234: cannot listen: cannot assign requested address. "
        "Set FANOUT_BIND to an address of this machine"
    )


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
@pytest.mark.parametrize("hosts", [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_an_address_that_the_machine_lacks_is_skipped_if_its_name_has_another_one(
    hosts: tuple[str, str], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container, `localhost` often has an IPv6 address and the kernel has no IPv6."""
    named(monkeypatch, *hosts)
    without_ipv6(monkeypatch, number)
    with listening(Bind("localhost", 0)) as opened:
        assert [sock.getsockname()[0] for sock in opened] == ["127.0.0.1"]
        port = opened[0].getsockname()[1]
    with listening(Bind("localhost", port)) as opened:
        assert [sock.getsockname() for sock in opened] == [("127.0.0.1", port)]


def test_if_the_machine_has_no_address_of_a_name_the_first_one_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named(monkeypatch, "::1", NO_OTHER)
    without_ipv6(monkeypatch, errno.EAFNOSUPPORT)
    assert refused(Bind("a.name", 1234)) == (
        "FANOUT_BIND=a.name:1234: cannot listen on [::1]:1234: "
        "address family not supported by protocol. Set FANOUT_BIND to an address of this machine"
    )


def test_an_address_whose_port_is_in_use_is_said_and_those_before_it_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other address would be served, and half of the clients would reach another program."""
    with listening(Bind("127.0.0.2", 0)) as [sock]:
        port = sock.getsockname()[1]
        named(monkeypatch, "127.0.0.1", "127.0.0.2")
        assert refused(Bind("a.name", port)) == (
            f"FANOUT_BIND=a.name:{port}: cannot listen on 127.0.0.2:{port}: address already in use. "
            "Stop the program that uses the port, or set FANOUT_BIND to another one (port 0: any free one)"
        )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_port_for_the_privileged_is_said(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(sock: socket.socket, address: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", bind)
    assert refused(Bind("127.0.0.1", 80)) == (
        f"FANOUT_BIND=127.0.0.1:80: cannot listen: {os.strerror(number).lower()}. "
        "Ports below 1024 need a privilege: set FANOUT_BIND to a higher one"
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name or service not known"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
        (OSError("No number"), "no number"),
        (UnicodeError("label too long"), "it is no name"),
    ],
    ids=repr,
)
def test_a_name_without_an_address_is_said(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(host: str, port: int, **asked: int) -> list[object]:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert refused(Bind("a.name", 1)) == (
        f"FANOUT_BIND=a.name:1: cannot resolve the host: {says}. Use an address"
    )
