"""One connection, where the order of events must be exact."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from fanout.tools.load.connection import Connection
from fanout.tools.load.endpoint import ENDPOINTS
from fanout.tools.load.outcome import Outcome
from fanout.tools.load.shot import Shot
from fanout.tools.load.wire import Wire
from tests.tools.load.scripted import answer

SO_TIMESTAMPNS = 35  # Linux; Python has no name for it
SHOT = Shot(ENDPOINTS["first"], 1000, b"GET /api/first?timeout=1000 HTTP/1.1\r\nHost: a\r\n\r\n")


class Book:
    """An owner that writes everything down."""

    allowance_ms = 0.0
    keep_alive = True

    def __init__(self) -> None:
        self.events: list[str] = []
        self.took_ms: list[float] = []

    def settled(
        self, connection: Connection, outcome: Outcome, answered_at: float | None, status: int, reason: str
    ) -> None:
        self.events.append(outcome)
        if answered_at is not None:
            self.took_ms.append((answered_at - connection.written_at) * 1000)

    def spoke_unasked(self, connection: Connection) -> None:
        self.events.append("unasked")

    def idle(self, connection: Connection) -> None:
        self.events.append("idle")

    def gone(self, connection: Connection) -> None:
        self.events.append("gone")


@pytest.fixture
def listener() -> socket.socket:
    """A listening socket that is served by hand: the test decides when each step happens."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)
    return listening


async def connected(
    nursery: trio.Nursery, listener: socket.socket, book: Book
) -> tuple[Connection, socket.socket]:
    """A connection whose first request was answered, and the server's end of it."""
    connection = Connection(Wire(socket.AF_INET, listener.getsockname()), book)
    connection.carry(SHOT, trio.current_time(), trio.current_time())
    nursery.start_soon(connection.run)
    await trio.testing.wait_all_tasks_blocked()
    with listener:
        server, _ = listener.accept()
    server.settimeout(5)
    assert server.recv(65536) == SHOT.request
    server.sendall(answer(200))
    await trio.testing.wait_all_tasks_blocked()
    assert book.events == ["useful", "idle"]
    book.events.clear()
    return connection, server


@pytest.mark.parametrize("reset", [False, True])
async def test_a_close_that_crosses_the_request_breaks_no_guarantee(
    nursery: trio.Nursery, listener: socket.socket, reset: bool
) -> None:
    """The server closed an idle connection before our bytes came: it read no head and owes nothing."""
    book = Book()
    connection, server = await connected(nursery, listener, book)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
    server.close()
    connection.carry(SHOT, trio.current_time(), trio.current_time())  # the loop has not seen the close yet
    await trio.testing.wait_all_tasks_blocked()
    assert book.events == ["crossed", "gone"]


@pytest.mark.parametrize(("waited_s", "outcome"), [(0.0, "crossed"), (0.15, "broken")])
async def test_a_reset_crosses_a_request_only_when_it_comes_at_once(
    nursery: trio.Nursery, listener: socket.socket, waited_s: float, outcome: str
) -> None:
    """A server that closes with the request unread resets the connection; one that let it lie is to blame."""
    book = Book()
    connection, server = await connected(nursery, listener, book)
    connection.carry(SHOT, trio.current_time(), trio.current_time())
    await trio.sleep(waited_s)
    server.close()
    await trio.testing.wait_all_tasks_blocked()
    assert book.events == [outcome, "gone"]


async def test_a_close_after_the_request_was_read_breaks_a_guarantee(
    nursery: trio.Nursery, listener: socket.socket
) -> None:
    """G1: the head was read, no answer came."""
    book = Book()
    connection, server = await connected(nursery, listener, book)
    connection.carry(SHOT, trio.current_time(), trio.current_time())
    server.recv(65536)
    server.close()
    await trio.testing.wait_all_tasks_blocked()
    assert book.events == ["broken", "gone"]


async def test_the_close_of_an_idle_connection_is_seen_at_once_and_counts_for_nothing(
    nursery: trio.Nursery, listener: socket.socket
) -> None:
    """Servers close idle connections: no request was in flight."""
    book = Book()
    connection, server = await connected(nursery, listener, book)
    server.close()
    await trio.testing.wait_all_tasks_blocked()
    assert book.events == ["gone"]
    assert connection.closed


async def test_bytes_on_an_idle_connection_are_an_answer_nobody_asked_for(
    nursery: trio.Nursery, listener: socket.socket
) -> None:
    """G1: exactly one answer, also when the second one comes later."""
    book = Book()
    _, server = await connected(nursery, listener, book)
    with server:
        server.sendall(answer(200))
        await trio.testing.wait_all_tasks_blocked()
    assert book.events == ["unasked", "gone"]


async def test_the_time_to_connect_is_not_the_servers(
    nursery: trio.Nursery, listener: socket.socket, mock_clock: trio.testing.MockClock
) -> None:
    """Rule 2: an answer is late by the time since its request was written, not since it was launched."""

    class SlowWire(Wire):
        async def open(self) -> None:
            await super().open()
            mock_clock.jump(5)

    book = Book()
    connection = Connection(SlowWire(socket.AF_INET, listener.getsockname()), book)
    launched_at = trio.current_time()
    connection.carry(SHOT, launched_at, launched_at)
    nursery.start_soon(connection.run)
    await trio.testing.wait_all_tasks_blocked()
    with listener, listener.accept()[0] as server:
        assert server.recv(65536) == SHOT.request
        mock_clock.jump(0.9)
        server.sendall(answer(200))
        while not book.events:
            await trio.testing.wait_all_tasks_blocked(0.01)
        connection.end(Outcome.LEFT)
    assert book.events == ["useful", "idle", "gone"]
    assert book.took_ms == [pytest.approx(900, abs=50)]
    assert connection.launched_at == launched_at


async def test_ending_twice_settles_once(nursery: trio.Nursery, listener: socket.socket) -> None:
    """A hang-up and a give-up may meet."""
    book = Book()
    connection, server = await connected(nursery, listener, book)
    with server:
        connection.carry(SHOT, trio.current_time(), trio.current_time())
        connection.end(Outcome.LEFT)
        connection.end(Outcome.MISSING)
        assert server.recv(65536) == SHOT.request
        assert server.recv(65536) == b""
    assert book.events == ["left", "gone"]


@pytest.fixture
def kernel_stamps() -> Iterator[None]:
    """The kernel stamps what arrives. It begins to some time after the first socket has asked for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
        asks.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        asks.bind(("127.0.0.1", 0))
        for _ in range(100):
            asks.sendto(b"?", asks.getsockname())
            time.sleep(0.02)
            read_at = time.time()
            _, ((_, _, stamp),), _, _ = asks.recvmsg(1, 64)
            seconds, nanoseconds = struct.unpack("qq", stamp)
            if read_at - (seconds + nanoseconds / 1e9) > 0.01:
                break  # stamped as it came, and not as it was read
        else:
            pytest.fail("the kernel does not stamp")
        yield


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's time stamps")
@pytest.mark.usefixtures("kernel_stamps")
async def test_an_answer_that_waited_for_a_busy_client_is_not_late(
    nursery: trio.Nursery, listener: socket.socket
) -> None:
    """G2 is judged by when the last byte arrived, not by when this client came round to read it."""
    book = Book()
    connection, server = await connected(nursery, listener, book)
    with server:
        connection.carry(SHOT, trio.current_time(), trio.current_time())
        server.recv(65536)
        server.sendall(answer(200))
        time.sleep(1.2)  # noqa: ASYNC251 - the client is busy for longer than the timeout
        await trio.testing.wait_all_tasks_blocked()
        connection.end(Outcome.LEFT)
    assert book.events[:2] == ["useful", "idle"]
    assert book.took_ms[-1] < 1000
