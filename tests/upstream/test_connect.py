"""Happy eyeballs: what each address does and after how long, and exactly when who has won."""

from __future__ import annotations

import errno
import gc
import os
import socket
import ssl
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import httpx
import pytest
import trio
import trio.testing

from fanout.loop.stream import SocketStream
from fanout.upstream.addresses import Addresses, Attempt
from fanout.upstream.connect import Connector, dial, first_to_connect, why_unreachable
from fanout.upstream.messages import Origin
from fanout.upstream.phases import Phase
from fanout.upstream.resolver import Resolver
from fanout.upstream.wire import Address, Wire
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
        self.reasons: set[str | None] = set()

    async def dial(self, address: Address) -> Wire:
        target = self._targets[address[1][0]]
        self.began[target.host] = trio.current_time()
        try:
            await trio.sleep(target.delay_s)
        except trio.Cancelled as cancelled:
            self.cancelled.append(target.host)
            self.reasons.add(cancelled.reason)
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
    assert network.reasons == ({"another address connected first"} if network.cancelled else set())
    assert not network.wires[winner].closed


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


class Learning:
    """A resolver that knows two addresses, and what it learnt of them."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses
        self.learnt: list[tuple[str, int, list[Attempt]]] = []

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        return self._addresses

    def learn(self, host: str, port: int, attempts: list[Attempt]) -> None:
        self.learnt.append((host, port, attempts))


@pytest.mark.parametrize("within_s", [0.3, 1.0])
async def test_what_each_attempt_showed_is_learnt_also_when_the_call_is_cancelled(
    autojump_clock: trio.testing.MockClock, within_s: float
) -> None:
    names: list[str] = []
    network = Network(Target("192.0.2.1", 9, OK), Target("192.0.2.2", 0.5, OK))

    async def dial_named(address: Address) -> Wire:
        names.append(trio.lowlevel.current_task().name)
        return await network.dial(address)

    resolver = Learning(network.addresses)
    connector = Connector(resolver, ssl.create_default_context(), dial_named)  # type: ignore[arg-type]  # a part of one
    phases: list[Phase] = []
    wire = None
    with trio.move_on_after(within_s):
        wire = await connector.open(Origin("http", "name", 8080), phases.append)
    assert (wire is not None) == (within_s == 1)
    [(host, port, attempts)] = resolver.learnt
    assert (host, port) == ("name", 8080)
    assert [(attempt.address[1][0], attempt.began_at) for attempt in attempts] == [
        ("192.0.2.1", 0),
        ("192.0.2.2", 0.25),
    ]
    assert [attempt.connected for attempt in attempts] == [False, within_s == 1]
    assert not any(attempt.failed for attempt in attempts)
    assert names == ["connect to 192.0.2.1", "connect to 192.0.2.2"]
    assert phases == [Phase.CONNECT]


async def test_of_a_single_address_there_is_no_order_to_learn(autojump_clock: trio.testing.MockClock) -> None:
    network = Network(Target("192.0.2.1", 1, OK))
    attempts: list[Attempt] = []
    assert await first_to_connect(network.addresses, network.dial, attempts) is network.wires["192.0.2.1"]
    assert attempts == []


async def test_an_upstream_on_this_host_is_connected_without_a_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with trio.testing.assert_no_checkpoints():
            wire = await dial((socket.AF_INET, listening.getsockname()))
        wire.abort()


class Slow(socket.SocketType):
    """A socket whose connection is not established at once. outcome: what SO_ERROR then says."""

    outcome = 0
    options: ClassVar[list[tuple[int, int]]] = []

    def connect_ex(self, address: object) -> int:
        return errno.EINPROGRESS

    def getsockopt(self, level: int, name: int) -> int:  # type: ignore[override]  # the one form that is used
        assert (level, name) == (socket.SOL_SOCKET, socket.SO_ERROR)
        return self.outcome

    def setsockopt(self, level: int, name: int, value: object) -> None:  # type: ignore[override]  # as above
        self.options.append((level, name))
        super().setsockopt(level, name, value)  # type: ignore[call-overload]  # as above

    def close(self) -> None:
        super().close()
        raise OSError(errno.EIO, "closed all the same")


@pytest.mark.parametrize("outcome", [0, errno.ECONNREFUSED])
async def test_a_connection_that_is_not_there_at_once_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, outcome: int
) -> None:
    monkeypatch.setattr(socket, "SocketType", Slow)
    monkeypatch.setattr(Slow, "outcome", outcome)
    Slow.options.clear()
    address = (socket.AF_INET, ("192.0.2.1", 80))
    if outcome:
        with pytest.raises(ConnectionRefusedError, match=r"Connection refused \(192\.0\.2\.1 port 80\)"):
            await dial(address)
        assert Slow.options[-1] == (socket.SOL_SOCKET, socket.SO_LINGER)  # nothing is left in the kernel
    else:
        (await dial(address)).abort()


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


REFUSED = OSError(errno.ECONNREFUSED, "whatever")


@pytest.mark.parametrize(
    ("url", "port", "raised", "why"),
    [
        ("http://name", 80, REFUSED, "connection refused"),
        ("https://name", 443, REFUSED, "connection refused"),
        ("HTTPS://name", 443, REFUSED, "connection refused"),
        ("https://name:8080", 8080, REFUSED, "connection refused"),
        ("http://name", 80, ExceptionGroup("all", [REFUSED, ValueError()]), "connection refused"),
        ("http://name", 80, _caused(OSError("all"), ExceptionGroup("", [REFUSED])), "connection refused"),
        ("http://name", 80, _caused(OSError("all"), _caused(OSError("some"), REFUSED)), "connection refused"),
        ("http://name", 80, socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        ("http://name", 80, ValueError("No such thing"), "no such thing"),
        ("http://name", 80, MemoryError(), "MemoryError"),
        ("http://name", 80, OSError(1, "Whatever"), "operation not permitted"),
        ("http://name", 80, OSError(0, "Whatever"), "whatever"),
        ("http://name", 80, OSError("Without a number"), "without a number"),
        ("http://name:443", 443, OSError(), "OSError"),
        ("http://name", 80, None, "no connection within 5 s"),
    ],
)
async def test_why_nothing_can_be_reached_is_told_in_a_few_words(
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    port: int,
    raised: Exception | None,
    why: str,
) -> None:
    asked: list[tuple[str, int]] = []

    async def open_tcp_stream(host: str, port: int) -> trio.SocketStream:
        asked.append((host, port))
        if raised is not None:
            raise raised
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", open_tcp_stream)
    assert await why_unreachable(url) == why
    assert asked == [("name", port)]
    assert trio.current_time() == (0 if raised else 5)


async def test_what_was_reached_is_so_however_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        closed = 0

        @property
        def socket(self) -> Stream:
            return self

        def close(self) -> None:
            self.closed += 1
            raise OSError(errno.EIO, "closed all the same")

    stream = Stream()

    async def open_tcp_stream(host: str, port: int) -> Stream:
        return stream

    monkeypatch.setattr(trio, "open_tcp_stream", open_tcp_stream)
    assert await why_unreachable("http://name") is None
    assert stream.closed == 1


async def test_what_can_be_reached_has_no_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert await why_unreachable(f"http://127.0.0.1:{listening.getsockname()[1]}") is None
        listening.settimeout(5)
        accepted, _ = listening.accept()
        with accepted:
            accepted.settimeout(5)
            assert accepted.recv(1) == b""  # it is closed, and nothing was sent


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
        raise NotImplementedError("the host is an address")

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
