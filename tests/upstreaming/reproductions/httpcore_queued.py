"""httpcore: a queued request is cancelled in the iteration in which it is given a connection.

pip install httpcore trio; python httpcore_queued.py
"""

from __future__ import annotations

import sys

import httpcore
import trio
import trio.testing

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
first, queued = trio.CancelScope(), trio.CancelScope()


class Stream(httpcore.AsyncMockStream):
    async def read(self, max_bytes, timeout=None):
        return ANSWER if first.cancel_called else await trio.sleep_forever()

    async def aclose(self):
        queued.cancel()  # the first request is about to give its connection's place to the queued one


class Backend(httpcore.AsyncMockBackend):
    async def connect_tcp(self, *args, **options):
        return Stream([])


async def main():
    pool = httpcore.AsyncConnectionPool(max_connections=1, network_backend=Backend([]))

    async def request(scope):
        with scope:
            await pool.request("GET", "http://a/", extensions={"timeout": {"pool": 1}})

    async with trio.open_nursery() as nursery:
        for scope in (first, queued):
            nursery.start_soon(request, scope)
            await trio.testing.wait_all_tasks_blocked()
        first.cancel()
    try:
        await request(trio.CancelScope())
    except httpcore.PoolTimeout:
        sys.exit(f"no request is left, and the pool of one is full: {pool.connections}")


trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
