"""An answer over HTTP/2, whatever the app and the client do within it. G1, G10, G11."""

from __future__ import annotations

import tracemalloc

import h2.events
import h2.settings
import trio
import trio.testing
from trio.testing import MockClock

from fanout.server.asgi import ANSWER, Receive, Scope, Send
from fanout.server.limits import Limits
from tests.server.http2 import H2Client, http2_in_memory, request

START = {"type": "http.response.start", "status": 200, "headers": []}


async def body_of(client: H2Client) -> bytes:
    body = b""
    while True:
        match await client.next(h2.events.Event):
            case h2.events.DataReceived(data=data):
                body += data
            case h2.events.StreamEnded():
                return body


async def test_an_empty_part_of_a_body_waits_for_nothing(autojump_clock: MockClock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for part in (b"one", b"", b"", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": part != b"two"})

    async with http2_in_memory(app) as world:
        client, began = world.connect(), trio.current_time()
        await client.send(request())
        assert await body_of(client) == b"onetwo"
        assert trio.current_time() == began


async def test_a_part_whose_send_was_cancelled_is_sent_before_the_next(autojump_clock: MockClock) -> None:
    """A body is what the app has given, in its order."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        with trio.move_on_after(1):
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await send({"type": "http.response.body", "body": b"second"})

    async with http2_in_memory(app) as world:
        client = world.connect()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.send(request())
        await trio.sleep(2)
        client.connection.increment_flow_control_window(100, 1)
        await client.flush()
        assert await body_of(client) == b"firstsecond"
    assert world.crashes == []


async def test_a_reset_while_an_error_is_sent_ends_its_stream_only(autojump_clock: MockClock) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            raise KeyError("a bug")
        await send({"type": ANSWER, "status": 200, "headers": [], "body": b""})

    async with http2_in_memory(app, Limits(write_timeout_s=5)) as world:
        client = world.connect()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.send(request())
        assert await client.status() == b"500"
        client.connection.reset_stream(1)
        await client.flush()
        await trio.sleep(10)
        await client.send(request(b"/other"), stream_id=3)
        assert await client.status() == b"200"
    assert [type(error) for error in world.crashes] == [KeyError]


async def test_a_body_behind_an_answer_that_is_not_read_takes_no_memory(autojump_clock: MockClock) -> None:
    """G10: the client sends on, and takes nothing of the answer that its request has."""
    sent_bytes = 2_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": ANSWER, "status": 413, "headers": [], "body": b"no body is wanted"})

    async with http2_in_memory(app) as world:
        client = world.connect()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await client.send(request(), end=False)
        assert await client.status() == b"413"
        tracemalloc.start()
        try:
            left = sent_bytes
            while left:
                size = min(left, 16_384, client.connection.local_flow_control_window(1))
                if not size:
                    await client.next(h2.events.WindowUpdated)
                    continue
                client.connection.send_data(1, bytes(size))
                await client.flush()
                left -= size
            await trio.testing.wait_all_tasks_blocked()
            held_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held_bytes < sent_bytes / 4
