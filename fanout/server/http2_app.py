"""Wraps an ASGI app for hypercorn's HTTP/2, and corrects three things between them.

- Hypercorn sends the app a disconnect when it closes the stream itself after the answer. The app does not
  get it.
- A client that gives a stream no window blocks hypercorn's `send` for ever. Here `send` is bounded, and then
  the connection ends.
- When an app raises or returns without an answer, hypercorn sends its own. Here fanout's answer is sent, and
  the bug is reported.
"""

from __future__ import annotations

from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup

from fanout.server import rejections
from fanout.server.asgi import ARRIVAL_KEY, App, Message, Receive, Scope, Send
from fanout.server.connection import Connection
from fanout.server.driver import Driver
from fanout.server.statistics import End


def for_http2(app: App, driver: Driver, connection: Connection) -> App:
    """`app` for one HTTP/2 connection. It raises only `Cancelled`."""

    async def app_for_http2(  # noqa: ASYNC910 - the task of a request, and its last act
        scope: Scope, receive: Receive, send: Send
    ) -> None:
        started = complete = crashed = left = False

        async def receive_until_complete() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.disconnect":
                if complete:
                    await trio.sleep_forever()
                left = True
            return message

        async def send_in_time(message: Message) -> None:
            nonlocal started, complete
            started = True
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            with trio.move_on_after(driver.timeouts.timeout_s(driver.limits.write_timeout_s)) as timeout:
                await send(message)
            if timeout.cancelled_caught:
                connection.cut(End.SLOW_READER)
                await trio.lowlevel.checkpoint()  # raises Cancelled

        try:
            await app(scope, receive_until_complete, send_in_time)
        except* Exception as group:  # noqa: BLE001 - the guard
            crashed = True
            driver.report(group)
        if not (complete or left or crashed):
            driver.report(RuntimeError("the app returned without a complete answer"))
        if not (started or left):  # if the answer has started, its stream is reset
            fields, body = driver.render(rejections.INTERNAL)
            fields.append((b"content-length", b"%d" % len(body)))
            await send_in_time({"type": "http.response.start", "status": 500, "headers": fields})
            await send_in_time({"type": "http.response.body", "body": body})

    return app_for_http2


class Tasks(TaskGroup):
    """Hypercorn's task group. It puts the time at which the head was read into the request's scope."""

    def __init__(self, app: App) -> None:
        """app: raises only `Cancelled`."""
        super().__init__()
        self._app = app

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        scope[ARRIVAL_KEY] = trio.current_time()
        to_app, from_caller = trio.open_memory_channel[Message](config.max_app_queue_size)
        self.spawn(_run, self._app, scope, from_caller.receive, send)
        return to_app.send  # noqa: ASYNC910 - it waits for nothing


async def _run(app: App, scope: Any, receive: Receive, send: Any) -> None:
    """As hypercorn's task of a request, but it does not keep the exception of a client disconnect."""
    await app(scope, receive, send)
    await send(None)  # the app has returned
