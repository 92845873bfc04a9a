"""Waiting for a request's first bytes on a socket: what is dealt with wakes nobody, and nothing is lost."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from fanout.loop.stream import MAX_RECEIVE_BYTES
from fanout.server.transport import SocketTransport
from tests.server.apps import Echo
from tests.server.serving import on_socket, until

RST = struct.pack("ii", 1, 0)


class Desk:
    """The server's end of a connection, its client's, and a task that waits for first bytes.

    `deals_with`: what is dealt with for the task. `seen`: what came before that. `got`: what the task had.
    """

    def __init__(self, transport: SocketTransport, theirs: socket.socket) -> None:
        self.transport = transport
        self.theirs = theirs
        self.deals_with = b"deal"
        self.seen: list[bytes] = []
        self.got: list[bytes | Exception] = []
        self.left = 0
        self.steps = 0

    def judge(self, data: bytes) -> bool:
        self.seen.append(data)
        if data.startswith(b"raise"):
            raise trio.BrokenResourceError
        return data.startswith(self.deals_with)

    def client_disconnected(self) -> None:
        self.left += 1

    async def wait(self) -> None:
        try:
            while data := await self.transport.receive_unless(self.judge):
                self.got.append(data)
            self.got.append(data)
        except trio.BrokenResourceError as error:
            self.got.append(error)


class Steps(trio.abc.Instrument):
    """How often a task ran."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._desk.steps += task.name == "reader"


@asynccontextmanager
async def desk(*, waiting: bool = True) -> AsyncIterator[Desk]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    async with trio.open_nursery() as nursery:
        desk = Desk(SocketTransport(ours), theirs)
        desk.transport.watch(desk.client_disconnected)
        steps = Steps(desk)
        trio.lowlevel.add_instrument(steps)
        if waiting:
            nursery.start_soon(desk.wait, name="reader")
            await trio.testing.wait_all_tasks_blocked()
        with theirs:
            yield desk
        trio.lowlevel.remove_instrument(steps)
        desk.transport.close()
        nursery.cancel_scope.cancel()


async def settled() -> None:
    await trio.sleep(0.05)


async def test_what_is_dealt_with_wakes_no_task() -> None:
    async with desk() as d:
        steps = d.steps
        for _ in range(5):
            d.seen.clear()
            d.theirs.sendall(b"deal")
            await until(lambda: d.seen)
        await settled()
        assert (d.steps, d.got) == (steps, [])
        d.theirs.sendall(b"read")
        await until(lambda: d.got)
    assert d.got == [b"read"]
    assert d.steps > steps


async def test_what_came_while_nobody_waited_is_found() -> None:
    """It is told of once only."""
    async with desk(waiting=False) as d:
        d.theirs.sendall(b"read")
        await settled()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(d.wait)
            await until(lambda: d.got == [b"read"])
            d.theirs.sendall(b"deal")
            await until(lambda: d.seen == [b"read", b"deal"])
            d.theirs.sendall(b"more")
            await until(lambda: d.got == [b"read", b"more"])
            nursery.cancel_scope.cancel()


async def test_what_was_taken_already_is_not_waited_for_in_vain() -> None:
    """The rest of a request is read by other means than the first bytes, and it is told of, too."""
    async with desk(waiting=False) as d:
        d.theirs.sendall(b"body")
        await settled()
        assert await d.transport.receive() == b"body"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(d.wait)
            await settled()
            assert d.seen == []
            d.theirs.sendall(b"next")
            await until(lambda: d.got == [b"next"])
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["FIN", "RST", "half-close"])
@pytest.mark.parametrize("before", [b"", b"deal", b"read"])
async def test_the_end_is_found_behind_bytes_that_came_with_it(how: str, before: bytes) -> None:
    """Whoever deals with the bytes, and although the kernel tells once of both."""
    async with desk() as d:
        d.theirs.sendall(before)
        if how == "half-close":
            d.theirs.shutdown(socket.SHUT_WR)
        else:
            if how == "RST":
                d.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            d.theirs.close()
        await until(lambda: (d.got and not isinstance(d.got[-1], bytes)) or d.got[-1:] == [b""])
        await settled()
    assert d.left == 1
    if how != "RST":  # that one takes unread bytes with it
        assert d.seen == ([before] if before else [])
        assert d.got == ([before] if before == b"read" else []) + [b""]


async def test_what_dealing_raises_is_raised_where_it_was_asked_for_and_nowhere_else() -> None:
    async with desk() as d, desk() as other:
        d.theirs.sendall(b"raise")
        await until(lambda: d.got)
        other.theirs.sendall(b"read")
        await until(lambda: other.got)
    assert isinstance(d.got[0], trio.BrokenResourceError)
    assert other.got == [b"read"]


async def test_nothing_is_lost_when_the_wait_is_cancelled() -> None:
    pieces = [b"%02d" % n for n in range(50)]
    async with desk(waiting=False) as d:
        for n, piece in enumerate(pieces):
            with trio.move_on_after(0.001 * (n % 3)):
                await d.wait()
            d.theirs.sendall(piece)
        with trio.move_on_after(0.1):
            await d.wait()
    assert b"".join(got for got in d.got if isinstance(got, bytes)) == b"".join(pieces)


async def test_more_than_one_read_takes_is_read_to_its_end() -> None:
    """What is told once has to be read until nothing is left."""
    async with desk() as d:
        d.deals_with = b"deal"
        sent = b"read" * (3 * MAX_RECEIVE_BYTES // 4) + b"read"
        await trio.to_thread.run_sync(d.theirs.sendall, sent)
        await until(lambda: sum(len(piece) for piece in d.got if isinstance(piece, bytes)) == len(sent))
        sent = b"deal" * (3 * MAX_RECEIVE_BYTES // 4) + b"deal"
        await trio.to_thread.run_sync(d.theirs.sendall, sent)
        # After a full read that was dealt with, the task gets the next bytes, and `judge` does not.
        await until(
            lambda: sum(len(each) for each in [*d.seen, *d.got] if isinstance(each, bytes)) == 3 * len(sent)
        )


async def test_what_is_dealt_with_is_bounded_in_one_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """G10. A client that sends as fast as it is read would keep the event loop to itself."""
    monkeypatch.setattr("fanout.loop.stream.MAX_RECEIVE_BYTES", 10)
    async with desk() as d:
        await settled()
        most = [0]
        dealt = [0]

        class Iterations(trio.abc.Instrument):
            def before_io_wait(self, timeout: float) -> None:
                most.append(len(d.seen) - dealt[-1])
                dealt.append(len(d.seen))

        trio.lowlevel.add_instrument(Iterations())
        d.theirs.sendall(b"deal------" * 1000)
        await until(lambda: 10 * (len(d.seen) + len(d.got)) == 10_000)
        assert max(most) <= 2


async def test_a_client_that_is_always_there_waits_like_the_others() -> None:
    async with desk(waiting=False) as d:
        d.theirs.sendall(b"read")
        await settled()
        with trio.testing.assert_checkpoints():
            assert await d.transport.receive_unless(d.judge) == b"read"


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize(
    "pieces", [(b"a", b"!", b"b"), (b"!", b"ab"), (b"ab", b"!"), (b"a", b"!", b"!", b"b")], ids=repr
)
async def test_what_stands_behind_an_urgent_byte_is_read(pieces: tuple[bytes, ...], waiting: bool) -> None:
    """G10. A read stops before it, and epoll has reported everything already."""
    async with desk(waiting=waiting) as d, trio.open_nursery() as nursery:
        for piece in pieces:
            d.theirs.send(piece, socket.MSG_OOB if piece == b"!" else 0)
        if not waiting:
            await settled()
            nursery.start_soon(d.wait)
        await until(lambda: b"".join(filter(None, d.seen)).replace(b"!", b"") == b"ab")
        nursery.cancel_scope.cancel()


async def test_a_request_is_served_although_an_urgent_byte_stands_in_its_head() -> None:
    """G1. The rest of the head is not waited for in vain."""
    async with on_socket(Echo()) as world:
        client = await world.connect()
        assert isinstance(client.stream, trio.SocketStream)
        sock = client.stream.socket
        with socket.socket(fileno=socket.dup(sock.fileno())) as same:
            same.send(b"GET / HTTP/1.1\r\n")
            same.send(b"!", socket.MSG_OOB)
            same.send(b"Host: a\r\n\r\n")
        with trio.fail_after(5):
            assert (await client.answer())[0] == 200
