"""A client that leaves is noticed while its request runs, also behind pipelined bytes; not afterwards."""

from __future__ import annotations

import socket
import struct

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fanout.server.asgi import Message, Receive, Scope, Send
from tests.server.apps import Echo, answer
from tests.server.serving import Client, get, in_memory, on_socket, until

RST = struct.pack("ii", 1, 0)


async def leave(client: Client, how: str) -> None:
    assert isinstance(client.stream, trio.SocketStream)
    if how == "half-close":
        await client.stream.send_eof()
        return
    if how == "RST":
        client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    client.stream.socket.close()


BEHIND = {"nothing": 0, "one byte": 1, "a request": 30, "a segment": 1000, "more": 100_000}


@pytest.mark.parametrize("how", ["FIN", "RST", "half-close"])
@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND.keys())
async def test_who_leaves_ends_the_request(how: str, behind: int) -> None:
    """G6, on a socket. Half-closing counts as leaving: a known limit, and the same as hypercorn's."""
    app = Echo(slow_s=60)
    async with on_socket(app) as world:
        client = await world.connect()
        await client.send(get("/slow"))
        await until(lambda: app.running)
        await client.send(b"x" * behind)
        left_at = trio.current_time()
        await leave(client, how)
        await until(lambda: not app.running)
        assert app.told_at[0] - left_at < 0.05
        await world.settled()
    assert world.ended == {"client_disconnected": 1}


async def test_a_hang_up_reaches_the_app_within_one_scheduler_pass(autojump_clock: MockClock) -> None:
    """G6. Counted in passes: the one that brings the end, and the one in which the app is cancelled."""
    app = Echo(slow_s=60)
    async with in_memory(app) as world:
        client = world.connect()
        await client.send(get("/slow"))
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.send_eof()
        await trio.lowlevel.cancel_shielded_checkpoint()
        assert app.told_at
        await trio.lowlevel.cancel_shielded_checkpoint()
        await trio.lowlevel.cancel_shielded_checkpoint()
        assert app.running == 0


async def test_after_the_answer_the_app_receives_a_disconnect_and_runs_on(
    autojump_clock: MockClock,
) -> None:
    """Whether the client ends the connection or the server does (`Connection: close`)."""
    heard: list[Message] = []
    done = trio.Event()

    async def lingering(scope: Scope, receive: Receive, send: Send) -> None:
        async def listen() -> None:
            while not heard or heard[-1]["type"] != "http.disconnect":
                heard.append(await receive())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.sleep(1)
            assert len(heard) == 1
            await answer(send, b"done")
            await trio.sleep(1)
            done.set()
            nursery.cancel_scope.cancel()

    async with in_memory(lingering) as world:
        client = world.connect()
        status, _, _ = await client.ask(get("/", "Connection: close"))
        await client.stream.send_eof()
        await done.wait()
        await world.all_ended()
    assert status == 200
    assert [message["type"] for message in heard] == ["http.request", "http.disconnect"]


async def test_writing_to_a_client_that_left_cancels_the_app() -> None:
    """The app does not listen, and notices as it answers: by cancellation, not by an exception of its own."""
    outcomes: list[str] = []

    async def deaf(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(1000):
                await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
                await trio.sleep(0.001)
        except trio.Cancelled:
            outcomes.append("cancelled")
            raise

    async with on_socket(deaf) as world:
        client = await world.connect()
        await client.send(get())
        await client.stream.receive_some(100)
        await leave(client, "RST")
        await world.settled()
    assert outcomes == ["cancelled"]
    assert world.ended == {"client_disconnected": 1}
    assert world.crashes == []
