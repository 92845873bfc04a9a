"""The stream over a socket: what has come is reported once, and none is missed or waited for in vain."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import trio
import trio.testing

from fanout.loop import stream
from fanout.loop.sockets import NEWS, sockets
from fanout.loop.stream import BrokenStream, SocketStream

RST = struct.pack("ii", 1, 0)
SOON_S = 5.0


@contextmanager
def connected() -> Iterator[tuple[socket.socket, SocketStream]]:
    """The upstream's end, and the wire."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    ours.setblocking(False)
    wire = SocketStream(ours)
    wire.watch(at_once=True)
    try:
        with theirs:
            yield theirs, wire
    finally:
        wire.abort()


async def settled() -> None:
    """Long enough for the kernel and the loop."""
    await trio.sleep(0.02)


async def received(wire: SocketStream) -> bytes:
    with trio.fail_after(SOON_S):
        return await wire.receive()


async def test_what_comes_while_it_is_waited_for_and_what_came_before() -> None:
    with connected() as (theirs, wire):
        async with trio.open_nursery() as nursery:
            got: list[bytes] = []

            async def receive() -> None:
                got.append(await received(wire))

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            theirs.sendall(b"waited for")
        theirs.sendall(b"not waited for")
        await settled()
        got.append(await received(wire))
    assert got == [b"waited for", b"not waited for"]


@pytest.mark.parametrize("max_bytes", [1, 2, 3, 6, 7])
async def test_what_is_read_in_pieces_is_told_once(max_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_RECEIVE_BYTES", max_bytes)
    with connected() as (theirs, wire):
        theirs.sendall(b"abcdef")
        await settled()
        got = b""
        while len(got) < 6:
            got += await received(wire)
        with trio.move_on_after(0.02) as scope:
            await wire.receive()
        assert scope.cancelled_caught
        theirs.sendall(b"more")
        while len(got) < 10:
            got += await received(wire)
    assert got == b"abcdefmore"


async def test_to_receive_is_a_checkpoint_however_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_RECEIVE_BYTES", 10)
    with connected() as (theirs, wire):
        theirs.sendall(b"x" * 1000)
        await settled()
        for _ in range(100):
            with trio.testing.assert_checkpoints():
                assert await received(wire) == b"x" * 10


async def test_who_waits_does_not_run_meanwhile() -> None:
    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += task.name == "reader"

    steps = Steps()
    with connected() as (theirs, wire):
        theirs.sendall(b"told of")
        await settled()
        assert await received(wire) == b"told of"
        trio.lowlevel.add_instrument(steps)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(received, wire, name="reader")
            await settled()
            theirs.sendall(b"x")
        trio.lowlevel.remove_instrument(steps)
    assert steps.count <= 3  # begins, may look once, and has it


async def test_what_was_taken_without_waiting_is_not_waited_for_in_vain() -> None:
    """It has been told of all the same."""
    with connected() as (theirs, wire):
        theirs.sendall(b"early")
        await settled()
        assert wire.receive_nowait() == b"early"
        async with trio.open_nursery() as nursery:
            got: list[bytes] = []

            async def receive() -> None:
                got.append(await received(wire))

            nursery.start_soon(receive)
            await settled()
            assert got == []
            theirs.sendall(b"later")
    assert got == [b"later"]


async def test_a_cancelled_wait_loses_nothing() -> None:
    with connected() as (theirs, wire):
        with trio.move_on_after(0.01) as scope:
            await wire.receive()
        assert scope.cancelled_caught
        theirs.sendall(b"kept")
        await settled()
        assert await received(wire) == b"kept"


async def test_bytes_that_come_in_the_pass_of_the_cancel_are_kept() -> None:
    with connected() as (theirs, wire):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_and_send, scope, theirs)
                await wire.receive()
        assert scope.cancelled_caught
        assert await received(wire) == b"kept"


async def _cancel_and_send(scope: trio.CancelScope, theirs: socket.socket) -> None:
    await trio.testing.wait_all_tasks_blocked()
    theirs.sendall(b"kept")
    scope.cancel()


@pytest.mark.parametrize("before", [b"", b"last words"])
@pytest.mark.parametrize("is_waited_for", [False, True])
async def test_the_end_is_heard_behind_what_came_before_and_again(before: bytes, is_waited_for: bool) -> None:
    """The kernel tells once of both."""
    with connected() as (theirs, wire):
        async with trio.open_nursery() as nursery:
            got: list[bytes] = []

            async def receive() -> None:
                while data := await received(wire):
                    got.append(data)
                got.append(await received(wire))

            if is_waited_for:
                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
            theirs.sendall(before)
            theirs.close()
            if not is_waited_for:
                await settled()
                nursery.start_soon(receive)
    assert b"".join(got) == before
    assert got[-1] == b""


async def test_an_answer_with_the_end_does_not_stand_behind_clients_that_leave() -> None:
    gone = 0

    def client_disconnected(events: int) -> bool:
        nonlocal gone
        gone += 1
        return True

    with ExitStack() as stack:
        theirs, wire = stack.enter_context(connected())
        for _ in range(200):
            its, ours = socket.socketpair()
            stack.enter_context(ours)
            sockets().watch(ours.fileno(), NEWS, client_disconnected)
            stack.callback(sockets().forget, ours.fileno())
            its.close()
        theirs.sendall(b"answer")
        theirs.close()
        assert await received(wire) == b"answer"
        assert gone < 50


async def test_a_reset_is_an_error_for_who_waits_and_for_who_comes_later() -> None:
    for wait_first in (True, False):
        with connected() as (theirs, wire):
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)

            async def expect_reset(wire: SocketStream) -> None:
                with pytest.raises(BrokenStream, match="reset by peer"):
                    await received(wire)

            async with trio.open_nursery() as nursery:
                if wait_first:
                    nursery.start_soon(expect_reset, wire)
                    await trio.testing.wait_all_tasks_blocked()
                theirs.close()
                await settled()
                if not wait_first:
                    nursery.start_soon(expect_reset, wire)


async def test_who_is_closed_is_forgotten_and_its_descriptor_starts_anew() -> None:
    with connected() as (theirs, wire):
        descriptor = wire._sock.fileno()
        theirs.sendall(b"of the first")
        await settled()
        wire.close()
        wire.close()
        wire.abort()
        assert descriptor not in sockets()._watched
    with connected() as (theirs, wire):
        theirs.sendall(b"of the second")
        assert await received(wire) == b"of the second"


def test_a_wire_may_be_closed_when_its_run_has_ended() -> None:
    async def run() -> SocketStream:
        ours, theirs = socket.socketpair()
        theirs.close()
        await trio.lowlevel.checkpoint()
        wire = SocketStream(ours)
        wire.watch()
        return wire

    trio.run(run).close()
    trio.run(run).abort()


async def test_a_closed_stream_does_not_use_its_descriptor_again() -> None:
    """The next socket may have got it, and what comes over that one is not for this one's owner."""
    with connected() as (_, wire), connected() as (theirs, other):
        descriptor = wire._sock.fileno()
        wire.close()
        os.dup2(other._sock.fileno(), descriptor)
        try:
            theirs.sendall(b"of the other")
            await settled()
            assert wire.receive_nowait() is None
            with pytest.raises(BrokenStream):
                wire.send_now(b"not for the other")
            wire.abort()
            assert await received(other) == b"of the other"
        finally:
            os.close(descriptor)
