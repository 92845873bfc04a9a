"""aiohttp's server, whose handler is a variant.

`python -m fanout.lab.side_by_side.servers.on_aiohttp NAME`

The client is aiohttp's, for anyio it is httpx, and for threads it is the standard library's. Two listeners:
`api` with aiohttp's defaults, and `cancelling` with `handler_cancellation=True`.
"""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import httpx
from aiohttp import web

from fanout.lab.side_by_side.retry import tried_twice
from fanout.lab.side_by_side.servers import GC_THRESHOLD, OK, SWALLOWS, Census, say_ready
from fanout.lab.side_by_side.variants import BY_NAME, Variant

SOCKET_TIMEOUT_S: Final = 30  # of a thread's call: longer than any row looks


class AiohttpCalls:
    def __init__(self) -> None:
        self._connector = aiohttp.TCPConnector()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
        self._session = aiohttp.ClientSession(connector=self._connector, timeout=timeout)

    async def get(self, url: str) -> Any:
        try:
            async with self._session.get(url) as response:
                if response.status != OK:
                    raise ConnectionError(response.status)
                return await response.json()
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from error

    def slots(self) -> int:
        return len(self._connector._acquired)  # it reports this nowhere


class HttpxCalls:
    def __init__(self) -> None:
        self._transport = httpx.AsyncHTTPTransport()
        self._client = httpx.AsyncClient(transport=self._transport, timeout=None, trust_env=False)

    async def get(self, url: str) -> Any:
        try:
            response = await self._client.get(url)
        except httpx.HTTPError as error:
            raise ConnectionError(str(error)) from error
        if response.status_code != OK:
            raise ConnectionError(response.status_code)
        return response.json()

    def slots(self) -> int:
        connections = self._transport._pool.connections  # it reports this nowhere
        return sum(not connection.is_idle() and not connection.is_closed() for connection in connections)


class ThreadCalls:
    """slots: calls that run, each of which has a thread."""

    def __init__(self) -> None:
        self._running = 0

    def get(self, url: str) -> Any:
        self._running += 1
        try:
            return _get_blocking(url)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionError(str(error)) from error
        finally:
            self._running -= 1

    def slots(self) -> int:
        return self._running


def _get_blocking(url: str) -> Any:
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.netloc, timeout=SOCKET_TIMEOUT_S)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        response = connection.getresponse()
        body = response.read()
        if response.status != OK:
            raise ConnectionError(response.status)
        return json.loads(body)
    finally:
        connection.close()


def calls_of(variant: Variant) -> AiohttpCalls | HttpxCalls | ThreadCalls:
    if variant.runtime == "threads":
        return ThreadCalls()
    return HttpxCalls() if variant.name == "anyio_group" else AiohttpCalls()


async def serve(variant: Variant) -> None:
    calls = calls_of(variant)
    first = variant.function("first")

    async def answer(request: web.Request) -> web.Response:
        made = [partial(calls.get, url) for url in request.query.getall("call")]
        if request.query.get("habit") == SWALLOWS and variant.runtime != "threads":
            made = [partial(tried_twice, call) for call in made]
        try:
            payload = await first(made, int(request.query["timeout"]) / 1000)
        except (TimeoutError, ConnectionError) as error:
            return web.json_response({"error": str(error)}, status=500)
        return web.json_response(payload)

    async def census(request: web.Request) -> web.Response:
        return web.Response(text=Census(len(asyncio.all_tasks()), calls.slots()).to_json())

    urls = {}
    async with AsyncExitStack() as stack:
        for name, is_cancelling in (("api", False), ("cancelling", True)):
            app = web.Application()
            app.add_routes([web.get("/api/first", answer), web.get("/census", census)])
            runner = web.AppRunner(app, handler_cancellation=is_cancelling, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            urls[name] = f"http://{host}:{port}"
        say_ready(**urls)
        await asyncio.Event().wait()


if __name__ == "__main__":
    gc.set_threshold(GC_THRESHOLD)
    asyncio.run(serve(BY_NAME[sys.argv[1]]))
