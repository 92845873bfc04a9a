"""httpcore: a request is cancelled in the iteration in which it has connected. Its pool loses the slot.

pip install httpcore trio; python httpcore_connected.py     (or pip install httpcore2; ... httpcore2)
"""

from __future__ import annotations

import importlib
import sys

import trio
import trio.testing

httpcore = importlib.import_module(sys.argv[1] if len(sys.argv) > 1 else "httpcore")


class Backend(httpcore.AsyncMockBackend):
    def __init__(self):
        super().__init__([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
        self.may_connect = trio.Event()

    async def connect_tcp(self, *args, **options):
        await self.may_connect.wait()
        return await super().connect_tcp(*args, **options)


async def main():
    backend = Backend()
    pool = httpcore.AsyncConnectionPool(max_connections=1, network_backend=backend)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.request, "GET", "http://a/")
        await trio.testing.wait_all_tasks_blocked()
        backend.may_connect.set()
        nursery.cancel_scope.cancel()
    try:
        await pool.request("GET", "http://a/", extensions={"timeout": {"pool": 1}})
    except httpcore.PoolTimeout:
        sys.exit(f"{httpcore.__name__}: no request is left, and the pool of one is full: {pool.connections}")


trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
