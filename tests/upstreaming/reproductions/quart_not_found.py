"""quart: a request that is answered with 404 leaves its exception and its request in a reference cycle.

pip install quart; python quart_not_found.py
"""

from __future__ import annotations

import asyncio
import gc
import sys

from quart import Quart
from werkzeug.exceptions import NotFound

app = Quart("app")
SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "scheme": "http"}


async def receive():
    await asyncio.sleep(0.1)  # it is not needed for the answer
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
    errors = [each for each in gc.garbage if isinstance(each, NotFound)]
    gc.set_debug(0)
    if errors:
        sys.exit(f"{found} objects are left for the garbage collector, {errors} among them")


asyncio.run(main())
