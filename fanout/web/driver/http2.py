"""An ASGI app as hypercorn's HTTP/2 may have it: what the app must not see, and what a caller must not do.

Hypercorn's own behaviour, and what is done about it:
- it tells an app that the caller left when it is itself that closes after the answer: not passed on;
- a caller that gives a stream no window blocks `send` for ever: bounded, then the connection is cut;
- it opens websockets over HTTP/2: refused with a 403.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from fanout.web.asgi import ARRIVAL_KEY, App, Message, Receive, Scope, Send
from fanout.web.driver.statistics import End


def for_http2(app: App, write_timeout_s: float, cut: Callable[[End], None]) -> App:
    """`app` for one HTTP/2 connection, which `cut` ends."""

    async def app_for_http2(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})
            return
        scope[ARRIVAL_KEY] = trio.current_time()
        complete = False

        async def receive_until_complete() -> Message:
            message = await receive()
            if complete and message["type"] == "http.disconnect":
                await trio.sleep_forever()
            return message

        async def send_in_time(message: Message) -> None:
            nonlocal complete
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            with trio.move_on_after(write_timeout_s) as patience:
                await send(message)
            if patience.cancelled_caught:
                cut(End.SLOW_READER)
                await trio.lowlevel.checkpoint()  # raises Cancelled

        await app(scope, receive_until_complete, send_in_time)

    return app_for_http2
