"""What an HTTP/2 connection leaves behind: nothing that needs the garbage collector. G10."""

from __future__ import annotations

import gc
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import h2.settings
import pytest
import trio
import trio.testing
from h2.errors import ErrorCodes

from fanout.server.asgi import Receive, Scope, Send
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.server.transport import SocketTransport
from tests.blackbox.front_door.http2_frames import PING, frame
from tests.server.apps import Echo
from tests.server.http2 import H2Client, request, serve_http2

LIMITS = Limits(
    max_spare_frames=20, max_resets=5, write_timeout_s=0.05, idle_timeout_s=0.05, head_timeout_s=0.05
)


class App(Echo):
    """`/crash` raises, `/part` raises within its answer, `/nothing` ends without one."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/crash":
            raise KeyError("a bug")
        if scope["path"] == "/part":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
            raise KeyError("a bug")
        if scope["path"] != "/nothing":
            await super().__call__(scope, receive, send)


async def running(client: H2Client, number: int = 3) -> None:
    """Some requests are running."""
    for stream_id in range(1, 2 * number, 2):
        client.connection.send_headers(stream_id, request(b"/slow"), end_stream=True)
    await client.flush()
    await trio.testing.wait_all_tasks_blocked(0.01)


async def silent(client: H2Client) -> None:
    await trio.testing.wait_all_tasks_blocked()


async def idle(client: H2Client) -> None:
    await client.send(request())
    await client.ended()
    await client.end()


async def no_preface(client: H2Client) -> None:
    await client.end()


async def answered(client: H2Client) -> None:
    await client.send(request(b"/stream"))
    await client.ended()


async def refused(client: H2Client) -> None:
    await client.send(request(method=b"get"))
    await client.ended()


async def malformed_head(client: H2Client) -> None:
    await client.send(request(b""))
    await client.reset()


async def malformed_frame(client: H2Client) -> None:
    await running(client)
    await client.stream.send_all(frame(PING, 0, 1, bytes(8)))
    await client.end()


async def malformed_block(client: H2Client) -> None:
    await client.flush()
    await client.stream.send_all(frame(1, 5, 1, b"\xff\xff\xff\xff"))
    await client.end()


async def reset_by_client(client: H2Client) -> None:
    await running(client)
    client.connection.reset_stream(1)
    await client.flush()
    await trio.testing.wait_all_tasks_blocked(0.01)


async def goaway(client: H2Client) -> None:
    await running(client)
    client.connection.close_connection()
    await client.flush()
    await client.end()


async def left_while_requests_run(client: H2Client) -> None:
    await running(client)


async def left_within_a_body(client: H2Client) -> None:
    await client.send(request(b"/slow", b"POST"), end=False)
    client.connection.send_data(1, b"x")
    await client.flush()


async def flooding(client: H2Client) -> None:
    await running(client)
    await client.stream.send_all(frame(PING, 0, 0, bytes(8)) * 50)
    await client.end()


async def resetting(client: H2Client) -> None:
    await running(client, 10)
    for stream_id in range(1, 20, 2):
        client.connection.reset_stream(stream_id)
    await client.flush()
    await client.end()


async def no_window(client: H2Client) -> None:
    client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    await client.send(request(b"/big"))
    await client.end()


async def not_reading(client: H2Client) -> None:
    client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**30})
    client.connection.increment_flow_control_window(2**30)
    await client.send(request(b"/big"))
    await trio.sleep(0.1)


async def crash(client: H2Client) -> None:
    await client.send(request(b"/crash"))
    assert await client.status() == b"500"


async def crash_within(client: H2Client) -> None:
    await client.send(request(b"/part"))
    assert await client.reset() == ErrorCodes.INTERNAL_ERROR


async def no_answer(client: H2Client) -> None:
    await client.send(request(b"/nothing"))
    assert await client.status() == b"500"


async def drained(client: H2Client) -> None:
    await client.send(request())
    await client.ended()


KINDS = [
    silent,
    idle,
    no_preface,
    answered,
    refused,
    malformed_head,
    malformed_frame,
    malformed_block,
    reset_by_client,
    goaway,
    left_while_requests_run,
    left_within_a_body,
    flooding,
    resetting,
    no_window,
    not_reading,
    crash,
    crash_within,
    no_answer,
    drained,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_a_connection_that_has_ended_leaves_no_garbage(
    kind: Callable[[H2Client], Awaitable[None]],
) -> None:
    """G10. A connection of hypercorn and h2 is a cycle of 66 KiB, kept until the collector runs."""
    drivers: list[Driver] = []  # one of a server, which refers to itself

    async def once() -> None:
        driver = Driver(LIMITS, on_crash=lambda _: None)
        drivers.append(driver)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        transport = SocketTransport(ours)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            nursery.start_soon(serve_http2, App(), driver, transport)
            client = H2Client(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)))
            await kind(client)
            if kind is drained:
                driver.drain()
                await client.end()
            theirs.close()
            with trio.fail_after(5):
                while driver.statistics().open:
                    await trio.sleep(0.002)
            nursery.cancel_scope.cancel()
        vars(client.connection).clear()  # the client's own

    await once()  # what is made once is made
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await once()
        gc.collect()
        garbage = Counter(f"{type(found).__module__}.{type(found).__qualname__}" for found in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert garbage == {}
