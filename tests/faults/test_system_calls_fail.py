"""Each system call fails, in the way of SQLite's I/O-error tests: the n-th call, for every n and every error.

No descriptor, no memory in the kernel or in the process, no route, a peer that is gone. The connection that
it happens to may suffer; the process may not. And then the strongest form: no memory at any line.

Here every situation is swept at some of its points. `make faults` sweeps all.
"""

from __future__ import annotations

import errno
import gc
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import pytest
import trio

from fanout.server.guard import Guard
from tests.faults.bench import Bench
from tests.faults.calls import NAMES
from tests.faults.clock import HandClock
from tests.faults.failing import ERRORS, FAILURES, THREADS
from tests.faults.lines import OUT_OF_MEMORY
from tests.faults.server import serving
from tests.faults.situations import SITUATIONS, Situation, named
from tests.faults.sweep import sweep

SHARE: Final = 0.01
LINES: Final = ("two requests", "a body in pieces", "a slow head", "over the limit, TLS")
LINES_SHARE: Final = 0.06


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The server says when nothing can be accepted, as it should."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("situation", SITUATIONS, ids=str)
def test_a_system_call_that_fails_costs_one_connection_at_most(situation: Situation) -> None:
    """G1, G7, G10, G11: the client gets an answer or the end, others are served, nothing is left."""
    swept = sweep(situation, FAILURES, share=SHARE)
    assert swept.wrong == []


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # if clean-up itself has no memory
@pytest.mark.parametrize("situation", [named(name) for name in LINES], ids=str)
def test_no_memory_at_any_line_costs_one_connection_at_most(situation: Situation) -> None:
    """G7, G10, G11: the process lives, others are served, permit and slot are returned; it may be said."""
    swept = sweep(situation, OUT_OF_MEMORY, share=LINES_SHARE)
    gc.collect()  # what it has left is not the next test's
    assert swept.wrong == []
    assert swept.runs


def test_it_finds_a_guard_that_lets_something_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """G10: without the guard, a call that fails where nobody expects it ends the server."""
    monkeypatch.setattr(Guard, "__exit__", lambda *_: False)
    swept = sweep(named("two requests"), FAILURES, first=True)
    assert any("the server has ended" in what for what in swept.wrong)
    gc.collect()  # what that server has left


def test_every_call_that_can_fail_has_its_errors() -> None:
    """A new kind of call in the seam has to be looked up in its man page."""
    without = {name for name in NAMES if name not in ERRORS and name not in THREADS}
    assert {name for name in without if not name.startswith("_SSLSocket.")} == {"epoll.poll", "socket.close"}
    assert all(hasattr(errno, name) for names in ERRORS.values() for name in names)


NO_SOCKET: Final = (
    *(OSError(number, "injected") for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)),
    MemoryError("injected"),
)


@pytest.mark.parametrize("error", NO_SOCKET, ids=repr)
def test_no_socket_for_an_upstream_connection_is_an_answer(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1, G7, G10: socket(2) fails, for one request. A class that is called is no call that the seam sees."""

    class NoSocket(socket.SocketType):
        def __new__(cls, *_: object) -> NoSocket:
            raise error

    async def with_no_socket(bench: Bench) -> None:
        client = bench.server.client()
        with monkeypatch.context() as patch:
            patch.setattr(socket, "SocketType", NoSocket)
            client.send(b"GET /api/all HTTP/1.1\r\nHost: a\r\n\r\n")
            await bench.server.settle(client)
        assert client.statuses == [500]
        client.close()

    _between_checks(with_no_socket, may_have_bugs=isinstance(error, MemoryError))


LOOK_UPS: Final = (
    socket.gaierror(socket.EAI_AGAIN, "injected"),
    socket.gaierror(socket.EAI_MEMORY, "injected"),
    OSError(errno.EMFILE, "injected"),
    RuntimeError("can't start new thread"),
    MemoryError("injected"),
)


@pytest.mark.parametrize("error", LOOK_UPS, ids=repr)
def test_a_name_that_cannot_be_looked_up_again_keeps_its_addresses(error: Exception) -> None:
    """G1, G10, G12: the refresh fails, also for want of a thread; the last answer is used."""

    async def with_no_look_up(bench: Bench) -> None:
        server = bench.server
        server.look_up_error = error
        for _ in range(3):
            server.clock.move(30.0)
            await server.settle()
        failures = server.transport.statistics().names[0].failures
        assert failures >= 1
        server.look_up_error = None
        server.clock.move(30.0)
        await server.settle()
        assert server.transport.statistics().names[0].failures == failures

    _between_checks(with_no_look_up, name="upstream.example")


def _between_checks(
    happens: Callable[[Bench], Awaitable[None]], *, name: str = "127.0.0.1", may_have_bugs: bool = False
) -> None:
    async def main() -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, HandClock)
        async with serving(clock, name=name) as server:
            bench = Bench(server)
            await bench.prepare()
            await happens(bench)
            checked = await bench.check(named("two requests"), may_have_bugs=may_have_bugs, may_leak=False)
            bench.bystander.close()
            assert checked == []

    trio.run(main, clock=HandClock())
