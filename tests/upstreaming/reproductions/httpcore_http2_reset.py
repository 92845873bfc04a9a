"""httpcore: a cancelled HTTP/2 request is not reset, so its stream counts for the life of the connection.

pip install httpcore[http2] trio; python httpcore_http2_reset.py     (or pip install httpcore2; ... httpcore2)
"""

from __future__ import annotations

import importlib
import sys

import trio
import trio.testing
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamReset
from h2.settings import SettingCodes

httpcore = importlib.import_module(sys.argv[1] if len(sys.argv) > 1 else "httpcore")
server = H2Connection(H2Configuration(client_side=False))
server.initiate_connection()
server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
received = []


class Stream(httpcore.AsyncMockStream):
    async def read(self, max_bytes, timeout=None):
        return server.data_to_send() or await trio.sleep_forever()

    async def write(self, data, timeout=None):
        received.extend(server.receive_data(data))


class Backend(httpcore.AsyncMockBackend):
    async def connect_tcp(self, *args, **options):
        return Stream([])


async def main():
    pool = httpcore.AsyncConnectionPool(http1=False, http2=True, network_backend=Backend([]))
    with trio.move_on_after(1):
        await pool.request("GET", "http://a/")
    if any(isinstance(event, StreamReset) for event in received):
        return
    try:
        with trio.move_on_after(1):
            await pool.request("GET", "http://a/")
    except httpcore.LocalProtocolError as error:
        sys.exit(f"{httpcore.__name__}: no RST_STREAM was sent, and the next request fails: {error}")


trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
