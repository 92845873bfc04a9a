"""What a socket can do to its wire beside bytes and the end: an urgent byte, and system calls that fail."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import httpx
import pytest
import trio
import trio.testing

from fanout.loop.sockets import sockets
from fanout.loop.stream import SocketStream
from fanout.upstream.connect import dial
from fanout.upstream.pool import CloseReason, PooledConnection
from fanout.upstream.transport import PoolTransport
from tests.loop.test_stream import connected, received, settled
from tests.upstream.raw_server import answer
from tests.upstream.scripted_wire import ScriptedWire
from tests.upstream.test_pool import idle, new_pool

URGENT = b"!"


def send(peer: socket.socket, pieces: Sequence[bytes]) -> None:
    """In one go, so that all of it has come before the event loop reads; `URGENT` is an urgent byte."""
    for piece in pieces:
        peer.send(piece, socket.MSG_OOB if piece is URGENT else 0)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"abc", URGENT, b"def"],
        [URGENT, b"abcdef"],
        [b"abcdef", URGENT],
        [b"ab", URGENT, b"cd", URGENT, b"ef"],
        [b"a", URGENT, b"b", URGENT, b"c", URGENT, b"def"],
    ],
    ids=str,
)
@pytest.mark.parametrize("is_waited_for", [False, True])
@pytest.mark.parametrize("ends", [False, True])
async def test_what_stands_behind_an_urgent_byte_is_read(
    pieces: Sequence[bytes], is_waited_for: bool, ends: bool
) -> None:
    """G10. A read stops in front of it, and the kernel has reported everything already.

    Of several urgent bytes only the last one is urgent; those before stand in the stream, as TCP has it.
    """
    with connected() as (theirs, wire):
        got = b""

        async def receive() -> None:
            nonlocal got
            while not got.endswith(b"f"):
                got += await received(wire)

        async with trio.open_nursery() as nursery:
            if is_waited_for:
                nursery.start_soon(receive)
                await trio.testing.wait_all_tasks_blocked()
            send(theirs, pieces)
            if ends:
                theirs.shutdown(socket.SHUT_WR)
            if not is_waited_for:
                await settled()
                nursery.start_soon(receive)
        assert got.replace(URGENT, b"") == b"abcdef"
        if ends:
            assert await received(wire) == b""


async def test_an_urgent_byte_does_not_keep_its_reader_awake() -> None:
    """G10. Once it was skipped there is nothing to read, and the reader waits like any other."""

    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += task.name == "reader"

    steps = Steps()
    with connected() as (theirs, wire):
        send(theirs, [b"abc", URGENT])
        assert await received(wire) == b"abc"
        trio.lowlevel.add_instrument(steps)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(received, wire, name="reader")
            await settled()
            theirs.send(b"more")
        trio.lowlevel.remove_instrument(steps)
    assert steps.count <= 4


async def test_an_answer_with_an_urgent_byte_in_its_head_is_an_answer() -> None:
    """G10. It was never read to its end, and the call failed at its deadline."""
    whole = answer(b'{"time": 1}')
    for number, cut in enumerate((1, 9, 20, len(whole) - 3)):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            transport = PoolTransport(max_connections=1)
            got: list[bytes] = []

            async def call(transport: PoolTransport = transport, url: str = url) -> None:
                response = await transport.handle_async_request(httpx.Request("GET", url))
                got.append(response.content)  # noqa: B023 - awaited in the loop

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                peer, _ = await trio.to_thread.run_sync(listener.accept)
                with peer, trio.move_on_after(5):
                    await trio.to_thread.run_sync(peer.recv, 1000)
                    send(peer, [whole[:cut], URGENT, whole[cut:]])
                    while not got:
                        await trio.sleep(0.001)
                nursery.cancel_scope.cancel()
            await transport.aclose()
            assert got == [b'{"time": 1}'], number


async def wire_to_nowhere() -> SocketStream:
    """Somebody has closed its descriptor: every system call fails with EBADF."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wire = await dial((socket.AF_INET, listener.getsockname()))
    assert isinstance(wire, SocketStream)
    os.close(wire._sock.fileno())
    return wire


@pytest.mark.parametrize("ways", [["close"], ["abort"], ["close", "abort"], ["abort", "close"]])
async def test_closing_never_fails(ways: Sequence[str]) -> None:
    """G7, G10: it runs in the pool's `finally`, where an exception would be the end of the service."""
    wire = await wire_to_nowhere()
    descriptor = wire._sock.fileno()
    for way in ways:
        getattr(wire, way)()
    assert wire._sock.fileno() == -1
    assert descriptor not in sockets()._watched


async def test_a_connection_that_cannot_be_dialled_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """G7: epoll has no room for it, say."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sockets(), "watch", full)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError, match="No space left"):
            await dial((socket.AF_INET, listener.getsockname()))
        assert os.listdir("/proc/self/fd") == before


async def test_news_that_cannot_be_passed_on_stays_in_the_callback() -> None:
    """G10: it is called by the event loop itself."""

    def no_memory() -> bool:
        raise MemoryError

    with connected() as (theirs, wire):
        wire.on_news(no_memory)
        theirs.sendall(b"kept")
        await settled()
        assert await received(wire) == b"kept"


@pytest.mark.parametrize(
    "error", [MemoryError(), ValueError("a library's"), ConnectionResetError()], ids=repr
)
async def test_a_connection_that_cannot_be_looked_at_is_not_reused_and_not_lost(error: Exception) -> None:
    """G7: whatever is raised while one is taken, the pool knows of every connection."""

    class Odd(ScriptedWire):
        def receive_nowait(self) -> bytes | None:
            raise error

    pool = new_pool()
    [(healthy, _)] = idle(pool, 1)
    odd, wire = PooledConnection(), Odd()
    pool._used[odd] = None
    pool.connected(odd, wire)
    pool.give_back(odd, None)
    assert pool.take() is healthy
    assert wire.closed == ["abort"]
    statistics = pool.statistics()
    assert (statistics.open, statistics.in_use, statistics.closed[CloseReason.PEER]) == (1, 1, 1)
