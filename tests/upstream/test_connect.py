"""Happy eyeballs: what each address does and after how long, and exactly when who has won."""

from __future__ import annotations

import errno
import gc
import os
import socket
import ssl
import struct
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from fanout.loop.stream import SocketStream
from fanout.upstream.addresses import Addresses, Attempt
from fanout.upstream.connect import Connector, dial, first_to_connect, why_unreachable
from fanout.upstream.messages import Origin
from fanout.upstream.resolver import Resolver
from fanout.upstream.wire import Address, Wire
from tests.upstream.raw_server import echo_path, raw_server
from tests.upstream.scripted_wire import ScriptedWire

PROBES = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
]


@dataclass(frozen=True)
class Target:
    """One address: after `delay_s` it connects, or fails."""

    host: str
    delay_s: float
    connects: bool


class Network:
    def __init__(self, *targets: Target) -> None:
        self._targets = {target.host: target for target in targets}
        self.addresses: list[Address] = [(socket.AF_INET, (target.host, 80)) for target in targets]
        self.began: dict[str, float] = {}
        self.wires: dict[str, ScriptedWire] = {}
        self.cancelled: list[str] = []

    async def dial(self, address: Address) -> Wire:
        target = self._targets[address[1][0]]
        self.began[target.host] = trio.current_time()
        try:
            await trio.sleep(target.delay_s)
        except trio.Cancelled:
            self.cancelled.append(target.host)
            raise
        if not target.connects:
            raise OSError(f"{target.host} failed")
        wire = self.wires[target.host] = ScriptedWire()
        return wire


OK, FAILS = True, False


@pytest.mark.parametrize(
    ("targets", "winner", "took_s", "overtaken"),
    [
        ([("a", 1, OK)], "a", 1, []),
        ([("a", 0.1, OK), ("b", 0, OK)], "a", 0.1, []),
        ([("a", 0.3, OK), ("b", 1, OK)], "a", 0.3, []),
        ([("a", 9, OK), ("b", 0.1, OK)], "b", 0.35, ["a"]),
        ([("a", 0.1, FAILS), ("b", 0.1, OK)], "b", 0.2, ["a"]),
        ([("a", 0, FAILS), ("b", 0, FAILS), ("c", 0.1, OK)], "c", 0.1, ["a", "b"]),
        ([("a", 9, OK), ("b", 9, OK), ("c", 0.1, OK)], "c", 0.6, ["a", "b"]),
        ([("a", 9, FAILS), ("b", 0.1, FAILS), ("c", 0.1, OK)], "c", 0.45, ["a", "b"]),
    ],
)
async def test_the_first_address_to_connect_wins(
    targets: Sequence[tuple[str, float, bool]],
    winner: str,
    took_s: float,
    overtaken: list[str],
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = Network(*(Target(*target) for target in targets))
    start = trio.current_time()
    attempts: list[Attempt] = []
    wire = await first_to_connect(network.addresses, network.dial, attempts)
    assert trio.current_time() - start == pytest.approx(took_s)
    assert wire is network.wires[winner]
    known = Addresses("upstream.test")
    known.looked_up(network.addresses)
    known.learn(attempts)
    assert list(known.statistics().tried_last) == overtaken
    assert not network.wires[winner].closed


async def test_each_attempt_is_noted_and_its_task_says_what_it_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = Network(Target("a", 9, OK), Target("b", 0.1, FAILS), Target("c", 0.5, OK), Target("d", 0, OK))
    attempts: list[Attempt] = []
    names: list[str] = []

    async def dial_and_look(address: Address) -> Wire:
        names.append(trio.lowlevel.current_task().name)
        return await network.dial(address)

    network._targets["d"] = Target("d", 9, OK)
    await first_to_connect(network.addresses, dial_and_look, attempts)
    assert names == ["connect to a", "connect to b", "connect to c", "connect to d"]
    assert [(attempt.address[1][0], round(attempt.began_at, 3)) for attempt in attempts] == [
        ("a", 0),
        ("b", 0.25),
        ("c", 0.35),
        ("d", 0.6),
    ]
    assert [(attempt.connected, attempt.failed) for attempt in attempts] == [
        (False, False),
        (False, True),
        (True, False),
        (False, False),
    ]
    assert network.cancelled == ["a", "d"] or network.cancelled == ["d", "a"]


@pytest.mark.parametrize("connects", [True, False])
async def test_of_a_single_address_there_is_nothing_to_learn(
    connects: bool, autojump_clock: trio.testing.MockClock
) -> None:
    network, attempts = Network(Target("a", 1, connects)), list[Attempt]()
    with nullcontext() if connects else pytest.raises(OSError, match="a failed"):
        assert await first_to_connect(network.addresses, network.dial, attempts) is network.wires["a"]
    assert (attempts, trio.current_time()) == ([], 1)


async def test_when_all_fail_the_first_error_is_raised(autojump_clock: trio.testing.MockClock) -> None:
    network = Network(Target("a", 1, FAILS), Target("b", 0.1, FAILS))
    with pytest.raises(OSError, match="b failed"):
        await first_to_connect(network.addresses, network.dial, [])
    assert trio.current_time() == pytest.approx(1)


async def test_of_two_that_connect_in_the_same_pass_one_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    both = trio.Event()
    wires: list[ScriptedWire] = []

    async def dial_both(address: Address) -> Wire:
        await both.wait()
        wires.append(ScriptedWire())
        return wires[-1]

    async def connect() -> None:
        two = Network(Target("a", 0, OK), Target("b", 0, OK)).addresses
        wire = await first_to_connect(two, dial_both, [])
        assert [other.closed for other in wires if other is not wire] == [["abort"]]
        assert [other.closed for other in wires if other is wire] == [[]]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect)
        await trio.sleep(1)
        both.set()
    assert len(wires) == 2


async def test_an_error_is_freed_with_its_call_and_not_by_the_garbage_collector(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A cycle per failed call would be collected later, all at once, while every other call waits."""
    errors: list[weakref.ref[OSError]] = []

    class Failed(OSError):
        def __init__(self) -> None:
            errors.append(weakref.ref(self))

    async def fail(address: Address) -> Wire:
        await trio.sleep(1)
        raise Failed

    addresses = Network(Target("a", 0, OK), Target("b", 0, OK)).addresses
    gc.collect()
    gc.disable()
    try:
        with suppress(Failed):
            await first_to_connect(addresses, fail, [])
        await trio.lowlevel.checkpoint()
        assert [error() for error in errors] == [None, None]
    finally:
        gc.enable()


async def test_a_bug_while_another_address_connects_leaves_nothing_open(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = Network(Target("a", 9, OK), Target("b", 1, OK))

    async def fail(address: Address) -> Wire:
        if address[1][0] == "b":
            return await network.dial(address)
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup) as raised:
        await first_to_connect(network.addresses, fail, [])
    assert raised.group_contains(ZeroDivisionError)
    assert [wire.closed for wire in network.wires.values()] == [["abort"]]


async def test_cancelled_nothing_is_left_open(autojump_clock: trio.testing.MockClock) -> None:
    network = Network(Target("a", 9, OK), Target("b", 9, OK))
    with trio.move_on_after(1) as scope:
        await first_to_connect(network.addresses, network.dial, [])
    assert scope.cancelled_caught
    assert sorted(network.cancelled) == ["a", "b"]


async def test_cancelled_as_it_connects_the_winner_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    """The deadline comes in the same pass as the connection."""
    network = Network(Target("a", 9, OK), Target("b", 0.75, OK))
    with trio.move_on_after(1):
        await first_to_connect(network.addresses, network.dial, [])
        pytest.fail("a tie goes to the deadline")
    assert all(wire.closed == ["abort"] for wire in network.wires.values())


async def test_dialling_a_closed_port_fails_and_leaves_nothing() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ConnectionRefusedError) as refused:
        await dial((socket.AF_INET, listener.getsockname()))
    assert refused.value.errno == errno.ECONNREFUSED
    assert refused.value.strerror == f"Connection refused (127.0.0.1 port {port})"
    assert os.listdir("/proc/self/fd") == before
    listener.close()


async def test_abort_is_a_reset_and_close_is_an_end() -> None:
    """What the upstream sees of a cancelled call, and of a connection that was idle for too long."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        for end, seen in (("close", b""), ("abort", ConnectionResetError)):
            wire = await dial((socket.AF_INET, listener.socket.getsockname()))
            stream = await listener.accept()
            getattr(wire, end)()
            getattr(wire, end)()  # the second time does nothing
            with trio.fail_after(5):
                try:
                    result: object = await stream.socket.recv(1)
                except OSError as error:
                    result = type(error)
            assert result == seen
            stream.socket.close()


async def test_a_dialled_connection_is_probed_while_it_is_idle() -> None:
    """G7. The kernel finds one dead within 8 s; `tests.chaos.dead_connections` measures it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        wire = await dial((socket.AF_INET, listening.getsockname()))
        assert isinstance(wire, SocketStream)
        found = [wire._sock.getsockopt(*option) for option in PROBES]
        wire.abort()
    assert found == [1, 5, 1, 3]


def begins_to_connect(connecting: socket.SocketType, where: tuple[Any, ...]) -> bool:
    connecting.connect_ex(where)
    return False


async def test_a_host_that_answers_later_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on this host, whose listeners answer at once: the socket is writable when it is connected."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setattr(
            "fanout.upstream.connect._is_connected",
            lambda connecting, where: connecting.connect_ex(where) < 0,
        )
        wire = await dial((socket.AF_INET, listening.getsockname()))
        peer, _ = listening.accept()
        with peer:
            peer.sendall(b"hello")
            assert await wire.receive() == b"hello"
        wire.abort()


async def test_a_refusal_that_comes_later_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As from another host. The socket is reset, for it may be connected when this is another error."""
    options: list[tuple[object, ...]] = []

    class Refused(socket.SocketType):
        def getsockopt(self, *option: int) -> int:  # type: ignore[override]  # of the three forms this one is used
            assert option == (socket.SOL_SOCKET, socket.SO_ERROR)
            return errno.ECONNREFUSED

        def setsockopt(self, *option: object) -> None:
            options.append(option)
            super().setsockopt(*option)  # type: ignore[call-overload]  # as above

    monkeypatch.setattr("socket.SocketType", Refused)
    monkeypatch.setattr("fanout.upstream.connect._is_connected", begins_to_connect)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        before = os.listdir("/proc/self/fd")
        with pytest.raises(
            ConnectionRefusedError, match=rf"Connection refused \(127\.0\.0\.1 port {port}\)$"
        ):
            await dial((socket.AF_INET, listening.getsockname()))
        assert os.listdir("/proc/self/fd") == before
    assert options[-1] == (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_the_end_of_a_dialled_connection_does_not_wait_behind_disconnects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An upstream may answer and close in one packet."""
    watched: list[bool] = []

    class Watched(SocketStream):
        def watch(self, on_end: Callable[[], None] | None = None, *, at_once: bool = False) -> None:
            watched.append(at_once)
            super().watch(on_end, at_once=at_once)

    monkeypatch.setattr("fanout.upstream.connect.SocketStream", Watched)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        (await dial((socket.AF_INET, listening.getsockname()))).abort()
    assert watched == [True]


# --- the look at the start


class Looked:
    """In place of Trio's `open_tcp_stream`: it fails as it is told, or never ends."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.at: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> trio.SocketStream:
        self.at.append((host, port))
        await trio.sleep_forever() if self.error is None else await trio.lowlevel.checkpoint()
        assert self.error is not None
        raise self.error


@pytest.mark.parametrize(
    ("url", "at"),
    [
        ("http://a.test/work", ("a.test", 80)),
        ("https://a.test/work", ("a.test", 443)),
        ("http://a.test:443/", ("a.test", 443)),
        ("https://a.test:8443", ("a.test", 8443)),
        ("http://[2001:db8::1]/", ("2001:db8::1", 80)),
        ("http:///work", ("", 80)),
    ],
)
async def test_a_look_at_an_upstream_is_a_connection_to_its_host_and_port(
    url: str, at: tuple[str, int], monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """It has five seconds."""
    looked = Looked()
    monkeypatch.setattr("trio.open_tcp_stream", looked)
    assert await why_unreachable(url) == "no connection within 5 s"
    assert (looked.at, trio.current_time()) == ([at], 5)


def caused(error: Exception, by: BaseException) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ECONNREFUSED, "Odd"), "connection refused"),
        (OSError(errno.EHOSTUNREACH, "Odd"), "no route to host"),
        (OSError(1, "Odd"), "operation not permitted"),
        (OSError(0, "Odd One"), "odd one"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service NOT known"), "name or service not known"),
        (OSError("Without A Number"), "without a number"),
        (caused(OSError("all failed"), OSError(errno.ECONNREFUSED, "x")), "connection refused"),
        (
            caused(OSError("all"), ExceptionGroup("both", [OSError(errno.ENETUNREACH, "x"), OSError("y")])),
            "network is unreachable",
        ),
        (ExceptionGroup("both", [caused(OSError("x"), ValueError("Inner")), OSError("y")]), "inner"),
        (ValueError("Odd"), "odd"),
        (ValueError(), "ValueError"),
        (OSError(), "OSError"),
    ],
    ids=repr,
)
async def test_why_an_upstream_is_unreachable_is_said_in_a_few_words(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio.open_tcp_stream", Looked(error))
    assert await why_unreachable("http://a.test/") == words


async def test_an_upstream_that_is_there_gets_a_connection_and_no_request() -> None:
    async with raw_server(echo_path) as server:
        before = os.listdir("/proc/self/fd")
        assert await why_unreachable(server.url()) is None
        with trio.fail_after(5):
            while server.living or not server.accepted:
                await trio.sleep(0.001)
        assert os.listdir("/proc/self/fd") == before


# --- opening: happy eyeballs, then TLS


async def phases_of(origin: Origin, *wires: ScriptedWire | OSError) -> tuple[list[str], list[ScriptedWire]]:
    """Open a connection to `origin`, of which the last phase is not the last if it fails."""
    phases: list[str] = []
    pending = list(wires)

    async def dial_next(address: Address) -> Wire:
        await trio.lowlevel.checkpoint()
        wire = pending.pop(0)
        if isinstance(wire, OSError):
            raise wire
        return wire

    async def nobody(host: str, port: int) -> Sequence[Address]:
        raise NotImplementedError

    connector = Connector(Resolver(nobody), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), dial_next)
    wire = await connector.open(origin, phases.append)
    assert wire in wires
    return phases, [wire for wire in wires if isinstance(wire, ScriptedWire)]


async def test_a_connection_without_tls_is_the_wire_itself() -> None:
    phases, [wire] = await phases_of(Origin("http", "192.0.2.1", 80), ScriptedWire())
    assert (phases, wire.closed) == (["connect"], [])


async def test_an_error_of_connecting_names_its_origin() -> None:
    error = OSError("nobody there")
    with pytest.raises(httpx.ConnectError) as raised:
        await phases_of(Origin("https", "192.0.2.1", 443), error)
    assert str(raised.value) == "https://192.0.2.1:443: nobody there"
    assert raised.value.__cause__ is error


async def test_a_handshake_that_fails_or_is_cancelled_leaves_its_wire_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    cut, hangs = ScriptedWire([b""]), ScriptedWire()
    with pytest.raises(httpx.ConnectError, match=r"^https://192\.0\.2\.1:443: "):
        await phases_of(Origin("https", "192.0.2.1", 443), cut)
    with trio.move_on_after(1) as scope:
        await phases_of(Origin("https", "192.0.2.1", 443), hangs)
    assert scope.cancelled_caught
    assert [cut.closed, hangs.closed] == [["abort"], ["abort"]]
