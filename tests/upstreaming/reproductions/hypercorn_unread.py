"""hypercorn, trio worker: a client that does not read its answer keeps the server from ending.

pip install hypercorn[trio]; python hypercorn_unread.py
"""

from __future__ import annotations

import sys

import trio
from hypercorn.config import Config
from hypercorn.trio import serve


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(50_000_000)})


async def main():
    config = Config.from_mapping(bind="127.0.0.1:0", errorlog=None, graceful_timeout=0.1)
    ends, ended = trio.Event(), trio.Event()

    async def server(task_status):
        await serve(app, config, shutdown_trigger=ends.wait, task_status=task_status)
        ended.set()

    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(server)
        client = await trio.open_tcp_stream("127.0.0.1", int(address.rpartition(":")[2]))
        await client.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.receive_some(1)
        ends.set()
        with trio.move_on_after(0.6) as patience:
            await ended.wait()
        await client.aclose()  # only this ends the server
    if patience.cancelled_caught:
        sys.exit(f"graceful_timeout is {config.graceful_timeout} s, and the server ran until its client left")


trio.run(main)
