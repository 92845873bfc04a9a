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
from tests.server.http2 import H2Caller, request, serve_http2

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


async def running(caller: H2Caller, number: int = 3) -> None:
    """Some requests are running."""
    for stream_id in range(1, 2 * number, 2):
        caller.connection.send_headers(stream_id, request(b"/slow"), end_stream=True)
    await caller.flush()
    await trio.testing.wait_all_tasks_blocked(0.01)


async def silent(caller: H2Caller) -> None:
    await trio.testing.wait_all_tasks_blocked()


async def idle(caller: H2Caller) -> None:
    await caller.send(request())
    await caller.ended()
    await caller.end()


async def no_preface(caller: H2Caller) -> None:
    await caller.end()


async def answered(caller: H2Caller) -> None:
    await caller.send(request(b"/stream"))
    await caller.ended()


async def refused(caller: H2Caller) -> None:
    await caller.send(request(method=b"get"))
    await caller.ended()


async def malformed_head(caller: H2Caller) -> None:
    await caller.send(request(b""))
    await caller.reset()


async def malformed_frame(caller: H2Caller) -> None:
    await running(caller)
    await caller.stream.send_all(frame(PING, 0, 1, bytes(8)))
    await caller.end()


async def malformed_block(caller: H2Caller) -> None:
    await caller.flush()
    await caller.stream.send_all(frame(1, 5, 1, b"\xff\xff\xff\xff"))
    await caller.end()


async def reset_by_caller(caller: H2Caller) -> None:
    await running(caller)
    caller.connection.reset_stream(1)
    await caller.flush()
    await trio.testing.wait_all_tasks_blocked(0.01)


async def goaway(caller: H2Caller) -> None:
    await running(caller)
    caller.connection.close_connection()
    await caller.flush()
    await caller.end()


async def left_while_requests_run(caller: H2Caller) -> None:
    await running(caller)


async def left_within_a_body(caller: H2Caller) -> None:
    await caller.send(request(b"/slow", b"POST"), end=False)
    caller.connection.send_data(1, b"x")
    await caller.flush()


async def flooding(caller: H2Caller) -> None:
    await running(caller)
    await caller.stream.send_all(frame(PING, 0, 0, bytes(8)) * 50)
    await caller.end()


async def resetting(caller: H2Caller) -> None:
    await running(caller, 10)
    for stream_id in range(1, 20, 2):
        caller.connection.reset_stream(stream_id)
    await caller.flush()
    await caller.end()


async def no_window(caller: H2Caller) -> None:
    caller.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    await caller.send(request(b"/big"))
    await caller.end()


async def not_reading(caller: H2Caller) -> None:
    caller.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**30})
    caller.connection.increment_flow_control_window(2**30)
    await caller.send(request(b"/big"))
    await trio.sleep(0.1)


async def crash(caller: H2Caller) -> None:
    await caller.send(request(b"/crash"))
    assert await caller.status() == b"500"


async def crash_within(caller: H2Caller) -> None:
    await caller.send(request(b"/part"))
    assert await caller.reset() == ErrorCodes.INTERNAL_ERROR


async def no_answer(caller: H2Caller) -> None:
    await caller.send(request(b"/nothing"))
    assert await caller.status() == b"500"


async def drained(caller: H2Caller) -> None:
    await caller.send(request())
    await caller.ended()


KINDS = [
    silent,
    idle,
    no_preface,
    answered,
    refused,
    malformed_head,
    malformed_frame,
    malformed_block,
    reset_by_caller,
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
    kind: Callable[[H2Caller], Awaitable[None]],
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
            caller = H2Caller(trio.SocketStream(trio.socket.from_stdlib_socket(theirs)))
            await kind(caller)
            if kind is drained:
                driver.drain()
                await caller.end()
            theirs.close()
            with trio.fail_after(5):
                while driver.statistics().open:
                    await trio.sleep(0.002)
            nursery.cancel_scope.cancel()
        vars(caller.connection).clear()  # the caller's own

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
