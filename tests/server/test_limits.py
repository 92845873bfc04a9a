"""How many connections there may be, and what is left of them."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.loop.sockets import sockets
from fanout.server.accept import accept_connections, accept_waiting
from fanout.server.limits import Limits
from tests.server.apps import Echo
from tests.server.serving import SOON_S, get, in_memory, listener, on_socket, until

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"
BOUND = re.compile(r"^\|.*\| ([0-9.]+)(?: \w+)? \| `fanout\.server\.limits\.Limits\.(\w+)` \|$", re.M)


def test_a_server_has_the_bounds_that_its_guarantees_promise() -> None:
    """G10."""
    promised = {name: float(number) for number, name in BOUND.findall(GUARANTEES.read_text("utf-8"))}
    limits = Limits()
    assert {name: getattr(limits, name) for name in promised} == promised
    assert promised.keys() == {*Limits.__dataclass_fields__} - {"evict_busy"}


async def test_who_has_waited_longest_gives_way_to_a_newer_connection(autojump_clock: MockClock) -> None:
    """G10. Idle connections cannot keep others out, nor can half a head."""
    async with in_memory(Echo(), Limits(max_connections=3)) as world:
        clients = []
        for _ in range(3):
            clients.append(world.connect())
            await trio.sleep(1)
        await clients[0].ask(get())  # now the second has waited longest
        await clients[2].send(b"GET / HT")
        await trio.sleep(1)
        newest = world.connect()
        assert (await newest.ask(get()))[0] == 200
        assert await clients[1].closed()
        assert (await clients[0].ask(get()))[0] == 200
        assert world.driver.statistics().open == 3
    assert world.ended["evicted"] == 1


async def test_newcomers_of_one_iteration_each_replace_another_connection(
    autojump_clock: MockClock,
) -> None:
    """G10. Those that gave way have yet to run when the next newcomer looks for a place."""
    async with in_memory(Echo(), Limits(max_connections=3)) as world:
        for _ in range(3):
            world.connect()
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(8):
            world.connect()
        await trio.testing.wait_all_tasks_blocked()
        statistics = world.driver.statistics()
        assert statistics.accepted - sum(statistics.ended.values()) == statistics.open == 3
        assert statistics.ended == {"evicted": 8}


async def test_when_all_are_busy_the_newest_is_refused() -> None:
    async with on_socket(Echo(slow_s=0.3), Limits(max_connections=2)) as world:
        busy = [await world.connect() for _ in range(2)]
        for client in busy:
            await client.send(get("/slow"))
        await until(lambda: world.driver.statistics().busy == 2)
        newest = await world.connect()
        status, fields, _ = await newest.answer()
        assert (status, fields["retry-after"], fields["connection"]) == (503, "1", "close")
        assert [(await client.answer())[0] for client in busy] == [200, 200]
    assert world.ended["over_limit"] == 1


async def test_where_busy_ones_are_evicted_a_new_connection_replaces_the_oldest(
    autojump_clock: MockClock,
) -> None:
    """G10. The admin listener has few connections, and a probe must get one, whatever holds the others."""
    async with in_memory(Echo(slow_s=5), Limits(max_connections=2, evict_busy=True)) as world:
        busy = [world.connect() for _ in range(2)]
        for client in busy:
            await client.send(get("/slow"))
        await trio.testing.wait_all_tasks_blocked()
        newest = [world.connect() for _ in range(2)]  # at once: each replaces another one
        assert [(await client.ask(get()))[0] for client in newest] == [200, 200]
        assert [await client.closed() for client in busy] == [True, True]
        assert world.driver.statistics().open == 2
    assert world.ended["evicted"] == 2
    assert "over_limit" not in world.ended


async def test_two_thousand_idle_connections_delay_nobody_and_leave_nothing() -> None:
    """G10. Descriptors and tasks are as before."""
    app = Echo()
    async with on_socket(app, Limits(idle_timeout_s=60)) as world:
        await trio.testing.wait_all_tasks_blocked()
        sockets()  # has a descriptor of its own, for the whole run
        descriptors = len(os.listdir("/proc/self/fd"))
        tasks = trio.lowlevel.current_statistics().tasks_living
        idle = [await world.connect() for _ in range(2000)]
        client = await world.connect()
        with trio.fail_after(SOON_S):
            for _ in range(20):
                assert (await client.ask(get()))[0] == 200
        await world.settled(2001)
        for one in [*idle, client]:
            await one.stream.aclose()
        await world.settled()
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("waiting", [0, 5, 100])
async def test_all_that_wait_are_accepted_at_once(waiting: int) -> None:
    """Up to a bound, then the accepted connections get a turn."""
    with listener() as sock, ExitStack() as opened:
        for _ in range(waiting):
            opened.enter_context(socket.create_connection(sock.getsockname()))
        begun = accept_waiting(sock, opened.enter_context)
    assert begun == min(waiting, 64)


async def test_accepting_goes_on_whatever_a_connection_or_the_kernel_raises(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """G10. One line in the log, however often it fails, and the connection that could not begin is closed."""
    begun: list[socket.socket] = []
    bugs: list[Exception] = [MemoryError(), RuntimeError("no thread"), OSError(errno.EMFILE, "no descriptor")]

    def begin(sock: socket.socket) -> None:
        if bugs:
            raise bugs.pop()
        begun.append(sock)

    with listener() as sock, ExitStack() as clients:
        refused = [clients.enter_context(socket.create_connection(sock.getsockname())) for _ in bugs]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_connections, sock, begin)
            with trio.fail_after(10):
                while not begun:
                    if not bugs:
                        clients.enter_context(socket.create_connection(sock.getsockname()))
                    await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert [client.recv(1) for client in refused] == [b""] * 3
        begun[0].close()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


class Listener(socket.socket):
    """Accepts what a script says: a connection, or an error."""

    def __init__(self, *script: socket.socket | OSError) -> None:
        super().__init__()
        self.script = list(script)

    def accept(self) -> tuple[socket.socket, object]:
        outcome = self.script.pop(0) if self.script else BlockingIOError()
        if isinstance(outcome, OSError):
            raise outcome
        return outcome, None


def test_an_error_of_accept_is_raised_only_if_no_connection_could_begin() -> None:
    """Those that did begin have their turn first. The error is there again at the next attempt."""
    no_descriptor = OSError(errno.EMFILE, "no descriptor")
    begun: list[socket.socket] = []
    with ExitStack() as opened:
        waiting = [opened.enter_context(socket.socket()) for _ in range(2)]
        with Listener(*waiting, no_descriptor, no_descriptor) as listening:
            assert accept_waiting(listening, begun.append) == 2
            assert begun == waiting
            assert not any(one.getblocking() for one in waiting)
            with pytest.raises(OSError, match="no descriptor"):
                accept_waiting(listening, begun.append)
            assert accept_waiting(listening, begun.append) == 0


async def test_between_attempts_that_fail_others_have_a_tenth_of_a_second(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """G10. A listener is readable for as long as nobody accepts: without a pause it takes the processor.

    Each outage is one line in the log.
    """
    failed_at: list[float] = []
    outage: OSError | None = None
    begun = 0

    def begin(sock: socket.socket) -> None:
        nonlocal begun
        if outage is not None:
            failed_at.append(trio.current_time())
            raise outage
        sock.close()
        begun += 1

    async def until_done(done: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not done():
                await trio.sleep(0.001)

    with listener() as sock, ExitStack() as clients:

        def connect(count: int) -> None:
            for _ in range(count):
                clients.enter_context(socket.create_connection(sock.getsockname()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept_connections, sock, begin)
            for number, name in enumerate(("no descriptor", "no memory"), 1):
                outage = OSError(errno.EMFILE, name)
                connect(3)
                await until_done(lambda number=number: len(failed_at) == 3 * number)  # type: ignore[misc]  # mypy infers no default
                outage = None
                connect(1)
                await until_done(lambda number=number: begun == number)  # type: ignore[misc]  # as above
            nursery.cancel_scope.cancel()
    pauses = [round(later - earlier, 3) for earlier, later in pairwise(failed_at)]
    assert (pauses[:2], pauses[3:]) == ([0.1, 0.1], [0.1, 0.1])
    assert [record.name for record in caplog.records] == ["fanout.server.accept"] * 2
    first, second = (record.getMessage() for record in caplog.records)
    assert "no descriptor" in first
    assert "no memory" in second


async def test_a_burst_is_accepted_in_a_few_passes_of_the_loop() -> None:
    """Trio's own listener takes one a pass; 200 that wait would take 200 passes."""
    async with on_socket(Echo()) as world:
        with ExitStack() as clients:
            for _ in range(200):  # the kernel completes them: the server has not had a turn yet
                clients.enter_context(socket.create_connection(("127.0.0.1", world.port)))
            passes = 0
            while world.driver.statistics().accepted < 200:
                await trio.lowlevel.checkpoint()
                passes += 1
        await world.settled()
    assert passes < 20


async def test_a_burst_of_connections_is_served_whole() -> None:
    async with on_socket(Echo()) as world:
        clients = [await world.connect() for _ in range(300)]
        for client in clients:
            await client.send(get())
        assert [(await client.answer())[0] for client in clients] == [200] * 300
    assert world.driver.statistics().accepted == 300
