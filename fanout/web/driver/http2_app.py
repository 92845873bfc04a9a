"""An ASGI app as hypercorn's HTTP/2 may have it: what the app must not see, and what a caller must not do.

Hypercorn's own behaviour, and what is done about it:
- it tells an app that the caller left when it is itself that closes after the answer: not passed on;
- a caller that gives a stream no window blocks `send` for ever: bounded, then the connection is cut;
- its answer for an app that raises has a field that h2 refuses to send: ours is sent, and the crash counted.
"""

from __future__ import annotations

import trio

from fanout.web import problems
from fanout.web.asgi import App, Message, Receive, Scope, Send
from fanout.web.driver import refusals
from fanout.web.driver.connection import Connection
from fanout.web.driver.driver import Driver
from fanout.web.driver.statistics import End


def for_http2(app: App, driver: Driver, connection: Connection) -> App:
    """`app` for one HTTP/2 connection. It raises only `Cancelled`."""

    async def app_for_http2(  # noqa: ASYNC910 - the task of a request, and its last act
        scope: Scope, receive: Receive, send: Send
    ) -> None:
        started = complete = crashed = False

        async def receive_until_complete() -> Message:
            message = await receive()
            if complete and message["type"] == "http.disconnect":
                await trio.sleep_forever()
            return message

        async def send_in_time(message: Message) -> None:
            nonlocal started, complete
            started = True
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            with trio.move_on_after(driver.patience_s(driver.limits.write_timeout_s)) as patience:
                await send(message)
            if patience.cancelled_caught:
                connection.cut(End.SLOW_READER)
                await trio.lowlevel.checkpoint()  # raises Cancelled

        try:
            await app(scope, receive_until_complete, send_in_time)
        except* Exception as group:  # noqa: BLE001 - the guard
            crashed = True
            driver.report(group)
        if crashed and not started:
            body = refusals.body_of(problems.INTERNAL)
            fields = [*refusals.fields_of(problems.INTERNAL), (b"content-length", b"%d" % len(body))]
            await send_in_time({"type": "http.response.start", "status": 500, "headers": fields})
            await send_in_time({"type": "http.response.body", "body": body})

    return app_for_http2
