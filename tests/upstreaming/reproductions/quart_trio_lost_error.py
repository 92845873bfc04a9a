"""quart-trio: an exception that is raised while the client disconnects is neither logged nor raised.

pip install quart-trio; python quart_trio_lost_error.py
"""

from __future__ import annotations

import logging
import sys

import trio
import trio.testing
from quart_trio import QuartTrio

app = QuartTrio("app")
logged = []
app.logger.addHandler(logging.Handler())
app.logger.handlers[-1].emit = logged.append
SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "scheme": "http"}


@app.get("/")
async def handler():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError("a bug in clean-up")


async def receive():
    await trio.testing.wait_all_tasks_blocked()
    return {"type": "http.disconnect"}


async def send(message):
    pass


async def main():
    raised = []
    try:
        await app(SCOPE | {"http_version": "1.1"}, receive, send)
    except* ZeroDivisionError as error:
        raised.append(error)
    if not logged and not raised:
        sys.exit(
            "the handler has raised ZeroDivisionError; nothing was logged, and the app has raised nothing"
        )


trio.run(main)
