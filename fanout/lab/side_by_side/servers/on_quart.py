"""Trio without any part of fanout: httpx's pool and a nursery, served by quart-trio on hypercorn.

`python -m fanout.lab.side_by_side.servers.on_quart`
"""

from __future__ import annotations

import gc
import socket
from functools import partial
from typing import Any

import httpx
import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import request
from quart_trio import QuartTrio

from fanout.lab.side_by_side.retry import tried_twice
from fanout.lab.side_by_side.servers import GC_THRESHOLD, OK, SWALLOWS, Census, say_ready
from fanout.lab.side_by_side.variants import BY_NAME


async def serve() -> None:
    first = BY_NAME["trio_nursery"].function("first")
    transport = httpx.AsyncHTTPTransport()
    client = httpx.AsyncClient(transport=transport, timeout=None, trust_env=False)
    app = QuartTrio(__name__)

    async def get(url: str) -> Any:
        try:
            response = await client.get(url)
        except httpx.HTTPError as error:
            raise ConnectionError(str(error)) from error
        if response.status_code != OK:
            raise ConnectionError(response.status_code)
        return response.json()

    @app.get("/api/first")
    async def answer() -> Any:
        made = [partial(get, url) for url in request.args.getlist("call")]
        if request.args.get("habit") == SWALLOWS:
            made = [partial(tried_twice, call) for call in made]
        try:
            return await first(made, int(request.args["timeout"]) / 1000)
        except (TimeoutError, ConnectionError) as error:
            return {"error": str(error)}, 500

    @app.get("/census")
    async def census() -> str:
        connections = transport._pool.connections  # it reports this nowhere
        slots = sum(not connection.is_idle() and not connection.is_closed() for connection in connections)
        return Census(trio.lowlevel.current_statistics().tasks_living, slots).to_json()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = Config()
        config.errorlog = None
        config.bind = [f"fd://{listener.fileno()}"]
        say_ready(api=f"http://127.0.0.1:{listener.getsockname()[1]}")
        await hypercorn.trio.serve(app, config, shutdown_trigger=trio.sleep_forever)


if __name__ == "__main__":
    gc.set_threshold(GC_THRESHOLD)
    trio.run(serve)
