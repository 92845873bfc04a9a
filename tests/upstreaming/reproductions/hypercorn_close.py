"""hypercorn, trio worker: no close after `Connection: close`, if the app ends its request on http.disconnect.

pip install hypercorn[trio]; python hypercorn_close.py
"""

from __future__ import annotations

import sys
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve


async def app(scope, receive, send):
    """As quart-trio does it: the end of the answer, or of the client, cancels the rest."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def watch():
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        nursery.cancel_scope.cancel()


async def main():
    config = Config.from_mapping(bind="127.0.0.1:0", errorlog=None, keep_alive_timeout=0.1)
    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(partial(serve, app, config))
        client = await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))
        await client.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert await client.receive_some()
        with trio.move_on_after(0.6) as patience:
            while await client.receive_some():
                pass
        nursery.cancel_scope.cancel()
    if patience.cancelled_caught:
        sys.exit(
            f"the answer has come, the keep-alive timeout of {config.keep_alive_timeout} s too, but no FIN"
        )


trio.run(main)
