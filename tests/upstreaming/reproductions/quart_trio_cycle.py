"""quart-trio: each request whose client disconnects leaves its exception in a reference cycle.

pip install quart-trio; python quart_trio_cycle.py
"""

from __future__ import annotations

import gc
import sys

import trio
import trio.testing
from quart_trio import QuartTrio

app = QuartTrio("app")
SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "scheme": "http"}


@app.get("/")
async def handler():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)


async def receive():
    await trio.testing.wait_all_tasks_blocked()
    return {"type": "http.disconnect"}


async def send(message):
    pass


async def main():
    for _ in range(3):
        await app(SCOPE | {"http_version": "1.1"}, receive, send)
        gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    await app(SCOPE | {"http_version": "1.1"}, receive, send)
    found = gc.collect()
    groups = [each for each in gc.garbage if isinstance(each, BaseExceptionGroup)]
    gc.set_debug(0)
    if groups:
        sys.exit(
            f"{found} objects are left for the garbage collector, {len(groups)} exception groups among them"
        )


trio.run(main)
