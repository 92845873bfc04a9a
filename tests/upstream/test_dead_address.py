"""A name with a dead address: whatever time calls have, it is tried last soon, and figures tell (G4, G5)."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx
import pytest
import trio
import trio.testing

from fanout.upstream.transport import PoolTransport
from fanout.upstream.wire import Address, Wire
from tests.upstream.raw_server import RawConnection, answer, raw_server
from tests.upstream.scripted_wire import Later, ScriptedWire

DEAD, ALIVE, OTHER = "192.0.2.1", "192.0.2.2", "192.0.2.3"
URL = "http://upstream.test/work"


class Name:
    """A transport to a name whose addresses connect after so many seconds; `None`: never."""

    def __init__(self, **connect_s: float | None) -> None:
        self._connect_s = {host.replace("_", "."): after_s for host, after_s in connect_s.items()}
        self.dialled: list[str] = []
        self.transport = PoolTransport(
            max_connections=500, origins=[URL], dial=self._dial, look_up=self._look_up
        )

    async def _look_up(self, host: str, port: int) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        return [(socket.AF_INET, (address, port)) for address in self._connect_s]

    async def _dial(self, address: Address) -> Wire:
        host = address[1][0]
        self.dialled.append(host)
        after_s = self._connect_s[host]
        await trio.sleep(math.inf if after_s is None else after_s)
        return ScriptedWire([Later(0.05, answer(b"{}", b"Connection: close"))])

    async def answers_within(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self.transport.handle_async_request(httpx.Request("GET", URL))
            return True
        return False


def name_of(*addresses: tuple[str, float | None]) -> Name:
    return Name(**{host.replace(".", "_"): after_s for host, after_s in addresses})


@pytest.mark.parametrize("timeout_s", [0.06, 0.1, 0.19, 0.24])
async def test_a_dead_address_is_tried_last_also_by_calls_that_end_before_its_time(
    timeout_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    """The silence of an address is added up over calls, to the 250 ms that one call would give it."""
    name = name_of((DEAD, None), (ALIVE, 0.005))
    async with trio.open_nursery() as nursery:
        await nursery.start(name.transport.run)
        answered = [await name.answers_within(timeout_s) for _ in range(40)]
        [known] = name.transport.statistics().names
        [origin] = name.transport.statistics().origins
        nursery.cancel_scope.cancel()
    failed = answered.count(False)
    assert (failed - 1) * timeout_s < 0.25 <= failed * timeout_s + 1e-6
    assert all(answered[2 * failed :])
    assert (known.tried_last, known.passed_over) == ((DEAD,), 1)
    assert known.addresses == (DEAD, ALIVE)
    assert (origin.cancelled_connects, origin.failed_connects) == (failed, 0)


async def test_calls_that_wait_at_once_count_once(autojump_clock: trio.testing.MockClock) -> None:
    """A hundred calls cancelled after 5 ms are not half a second of silence."""
    name = name_of((DEAD, 0.1), (ALIVE, 0.1))
    async with trio.open_nursery() as nursery:
        await nursery.start(name.transport.run)
        for _ in range(2):
            async with trio.open_nursery() as calls:
                for _ in range(100):
                    calls.start_soon(name.answers_within, 0.05)
        [known] = name.transport.statistics().names
        nursery.cancel_scope.cancel()
    assert known.passed_over == 0


async def test_an_address_that_connects_is_forgiven_its_silence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Calls that are stopped early say nothing about an address that answers those that wait."""
    name = name_of((ALIVE, 0.1), (OTHER, 0.1))
    async with trio.open_nursery() as nursery:
        await nursery.start(name.transport.run)
        for _ in range(20):
            for timeout_s in (0.09, 0.09, 1, 1):
                await name.answers_within(timeout_s)
        [known] = name.transport.statistics().names
        nursery.cancel_scope.cancel()
    assert known.passed_over == 0


async def test_when_all_addresses_are_silent_they_go_on_taking_turns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """One of them comes back one day, and is found."""
    name = name_of((DEAD, None), (ALIVE, None))
    async with trio.open_nursery() as nursery:
        await nursery.start(name.transport.run)
        for _ in range(10):
            assert not await name.answers_within(0.19)
        assert set(name.dialled[-4:]) == {DEAD, ALIVE}
        name._connect_s[ALIVE] = 0.001
        answered = [await name.answers_within(0.19) for _ in range(10)]
        assert answered.count(False) <= 3
        nursery.cancel_scope.cancel()


async def test_of_addresses_that_all_refuse_none_is_put_last(autojump_clock: trio.testing.MockClock) -> None:
    """While an upstream restarts; afterwards connections are spread over them as before."""

    class Refusing(Name):
        async def _dial(self, address: Address) -> Wire:
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError(address[1][0])

    name = Refusing(**{DEAD.replace(".", "_"): None, ALIVE.replace(".", "_"): None})
    async with trio.open_nursery() as nursery:
        await nursery.start(name.transport.run)
        for _ in range(5):
            with pytest.raises(httpx.ConnectError):
                await name.answers_within(1)
        [known] = name.transport.statistics().names
        nursery.cancel_scope.cancel()
    assert (known.tried_last, known.passed_over) == ((), 0)


@contextmanager
def swallows_connects(port: int) -> Iterator[None]:
    """127.0.0.2 on this port: a listener whose queue is full, so the kernel drops every SYN."""
    clients = []
    with socket.create_server(("127.0.0.2", port), backlog=0) as listener:
        try:
            for _ in range(4):
                client = socket.socket()
                clients.append(client)
                client.setblocking(False)
                client.connect_ex(("127.0.0.2", port))
            yield
        finally:
            for client in clients:
                client.close()
        assert listener.fileno() >= 0


async def test_a_real_address_that_swallows_connects_costs_two_calls_and_not_all() -> None:
    """As `/api/all?timeout=200` of a name with two addresses: two calls at once, and both must come."""

    async def answers_once(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(answer(b"{}", b"Connection: close"))

    async with raw_server(answers_once) as server:
        port = int(server.origin.rpartition(":")[2])

        async def look_up(host: str, port: int) -> Sequence[Address]:
            await trio.lowlevel.checkpoint()
            return [(socket.AF_INET, (address, port)) for address in ("127.0.0.2", "127.0.0.1")]

        url = f"http://upstream.test:{port}/"
        transport = PoolTransport(max_connections=4, origins=[url], look_up=look_up)

        async def both_answer() -> bool:
            answered = 0

            async def call() -> None:
                nonlocal answered
                await transport.handle_async_request(httpx.Request("GET", url))
                answered += 1

            with trio.move_on_after(0.19):
                async with trio.open_nursery() as calls:
                    calls.start_soon(call)
                    calls.start_soon(call)
            return answered == 2

        with swallows_connects(port):
            async with transport, trio.open_nursery() as nursery:
                await nursery.start(transport.run)
                answered = [await both_answer() for _ in range(12)]
                [known] = transport.statistics().names
                nursery.cancel_scope.cancel()
    assert answered[4:] == [True] * 8
    assert known.tried_last == ("127.0.0.2",)
