"""quart: a Host field that is no IDNA name is an exception out of the app, and not a 400.

pip install quart; python quart_bad_host.py     (quart-trio does the same)
"""

from __future__ import annotations

import asyncio
import sys

from quart import Quart
from werkzeug.exceptions import BadHost

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "query_string": b"",
    "scheme": "http",
    "http_version": "1.1",
}
statuses = []


async def receive():
    await asyncio.sleep(0.1)  # it is not needed for the answer
    return {"type": "http.disconnect"}


async def send(message):
    statuses.append(message.get("status"))


async def main():
    try:
        await Quart("app")(SCOPE | {"headers": [(b"host", b"a..b")]}, receive, send)
    except BadHost as error:
        sys.exit(f"Host: a..b has no answer, because the app has raised {error!r}")
    assert statuses[0] == 400


asyncio.run(main())
