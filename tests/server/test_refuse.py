"""The `refuse` hook: asked before anything is parsed, answered with one write, safe on a kept connection."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.server.limits import Limits
from tests.server.apps import Echo
from tests.server.hostile import POST
from tests.server.serving import SOON_S, get, in_memory, on_socket, until

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 4\r\n\r\nbusy"


class Switch:
    """A hook that refuses while it is `on`."""

    def __init__(self) -> None:
        self.on = True
        self.asked = 0

    def __call__(self, beginning: int) -> bytes | None:
        self.asked += 1
        return BUSY if self.on else None


async def test_a_refused_request_keeps_its_connection_and_the_next_may_be_served(
    autojump_clock: MockClock,
) -> None:
    app, switch = Echo(), Switch()
    async with in_memory(app, refuse=switch) as world:
        client = world.connect()
        for _ in range(3):
            status, fields, body = await client.ask(get("/refused"))
            assert (status, body, fields["retry-after"]) == (503, b"busy", "1")
            assert "connection" not in fields
        switch.on = False
        assert (await client.ask(get("/served")))[0] == 200
    assert [scope["path"] for scope in app.scopes] == ["/served"]
    assert (switch.asked, world.driver.statistics().refused) == (4, 3)


async def test_a_client_that_is_refused_again_and_again_is_not_idle(autojump_clock: MockClock) -> None:
    """Each request gives it nine tenths of the idle timeout or more for the next one, never more than all."""
    async with in_memory(Echo(), Limits(idle_timeout_s=10), Switch()) as world:
        client = world.connect()
        for wait_s in (0.5, 8.9, 0.5, 8.9):
            assert (await client.ask(get()))[0] == 503
            await trio.sleep(wait_s)
        assert (await client.ask(get()))[0] == 503
        began = trio.current_time()
        assert await client.closed()
        assert began + 9 <= trio.current_time() <= began + 10
    assert world.ended == {"idle": 1}


NOT_KEPT = {
    "a body may follow": POST + b"Content-Length: 3\r\n\r\n",
    "a body hides behind a bare LF": b"GET / HTTP/1.1\nContent-Length: 3\r\n\r\n",
    "a GET with a body": b"GET / HTTP/1.1\r\nHost: a\r\ncOnTeNt-LeNgTh: 3\r\n\r\n",
    "chunks may follow": b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an answer to HEAD has no body": b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "not whole": b"GET / HTT",
    "more than one": get() + get(),
    "the client wants to close": get("/", "Connection: close"),
    "HTTP/1.0": get(version="1.0"),
    "anything": b"\x00\xff" * 50,
}


@pytest.mark.parametrize("sent", NOT_KEPT.values(), ids=NOT_KEPT.keys())
async def test_what_is_not_plainly_one_request_is_refused_with_a_close(
    sent: bytes, autojump_clock: MockClock
) -> None:
    """So no byte of an unread request can become the beginning of the next one."""
    async with in_memory(Echo(), refuse=Switch()) as world:
        client = world.connect()
        await client.send(sent)
        is_head = sent.startswith(b"HEAD")
        status, fields, body = await client.answer(head_only=is_head)
        assert (status, fields["connection"], body) == (503, "close", b"" if is_head else b"busy")
        await client.stream.send_eof()
        assert await client.closed()
        await world.all_ended()
    assert world.ended == {"refused": 1}


async def test_on_a_socket_it_is_the_same() -> None:
    """There they are refused where they are told of, and not by the connection's task."""
    async with on_socket(Echo(), refuse=Switch()) as world:
        for sent in NOT_KEPT.values():
            client = await world.connect()
            assert (await client.ask(get()))[0] == 503
            await client.send(sent)
            is_head = sent.startswith(b"HEAD")
            status, fields, body = await client.answer(head_only=is_head)
            assert (status, fields["connection"], body) == (503, "close", b"" if is_head else b"busy")
            await client.stream.send_eof()
            assert await client.closed()
        await world.settled()
    assert world.ended == {"refused": len(NOT_KEPT)}


async def test_while_draining_a_refusal_is_the_last_answer() -> None:
    async with on_socket(Echo(), refuse=Switch()) as world:
        client = await world.connect()
        assert (await client.ask(get()))[0] == 503
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(client.stream, trio.SocketStream)
        os.write(client.stream.socket.fileno(), get())  # and no checkpoint: the server has had no turn
        world.driver.drain()
        status, fields, _ = await client.answer()
        assert (status, fields["connection"]) == (503, "close")
        await world.settled()


async def test_a_refusal_that_is_not_read_ends_after_the_time_for_a_write(autojump_clock: MockClock) -> None:
    async with in_memory(Echo(), Limits(write_timeout_s=7), Switch()) as world:
        client = world.connect(lockstep=True)
        began = trio.current_time()
        await client.send(get())
        await until(lambda: not world.driver.statistics().open)
        assert began + 7 <= trio.current_time() < began + 7.1
    assert world.ended == {"slow_reader": 1}


async def test_a_refusal_of_which_the_kernel_takes_a_part_is_finished_by_the_connection() -> None:
    body = bytes(range(256)) * 32 * 1024  # 8 MiB: more than a socket holds at first
    large = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    async with on_socket(Echo(), refuse=lambda _: large) as world:
        client = await world.connect()
        for _ in range(2):
            with trio.fail_after(SOON_S):
                status, _, received = await client.ask(get())
            assert status == 503
            assert received == body
        await client.stream.aclose()
        await world.settled()
    assert world.ended == {"client_disconnected": 1}


async def test_a_thousand_clients_are_refused_on_sockets() -> None:
    async with on_socket(Echo(), refuse=Switch()) as world:

        async def client() -> None:
            client = await world.connect()
            for _ in range(10):
                assert (await client.ask(get()))[0] == 503
            await client.stream.aclose()

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(client)
        await world.settled()
    assert world.driver.statistics().refused == 1000
    assert world.ended == {"client_disconnected": 100}
