"""A handler that makes two upstream calls and answers, as an ASGI app: bare, and in each framework.

    export APP=starlette UPSTREAM=http://127.0.0.1:9000/api/work
    python -m uvicorn benchmarks.peers.disconnect_app:app

Nothing is tuned. Only `watching` does anything about a client disconnect: it is what ASGI leaves to the
app. In all others the server and the framework decide. anyio and httpx run on asyncio and on Trio, so the
handler is the same on every server.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
import httpx

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


async def work() -> None:
    """Two upstream calls at once. When it returns or is cancelled, both sockets are closed."""
    url = os.environ["UPSTREAM"]
    async with httpx.AsyncClient(timeout=None, trust_env=False, verify=False) as client:
        async with anyio.create_task_group() as calls:
            calls.start_soon(client.get, url)
            calls.start_soon(client.get, url)


async def _respond(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def _lifespan(receive: Receive, send: Send) -> None:
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


async def bare(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    if scope["path"] == "/work":
        await work()
    await _respond(send)


async def watching(scope: Message, receive: Receive, send: Send) -> None:
    """`bare`, and a task that waits for the client's disconnect and then cancels the work."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass  # the request's body
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        await bare(scope, receive, send)
        tasks.cancel_scope.cancel()


def starlette() -> App:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def handler(request: Request) -> JSONResponse:
        if request.url.path == "/work":
            await work()
        return JSONResponse({})

    return Starlette(routes=[Route("/work", handler), Route("/ready", handler)])


def fastapi() -> App:
    from fastapi import FastAPI

    return _with_routes(FastAPI())


def litestar() -> App:
    from litestar import Litestar, get

    @get("/work")
    async def handler() -> dict[str, str]:
        await work()
        return {}

    @get("/ready")
    async def ready() -> dict[str, str]:
        return {}

    return Litestar([handler, ready])


def quart() -> App:
    from quart import Quart

    return _with_routes(Quart(__name__))


def quart_trio() -> App:
    from quart_trio import QuartTrio

    return _with_routes(QuartTrio(__name__))


def _with_routes(app: Any) -> App:
    """FastAPI and Quart name their decorators alike."""

    @app.get("/work")
    async def handler() -> dict[str, str]:
        await work()
        return {}

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        return {}

    return app


APPS: dict[str, Callable[[], App]] = {
    "bare": lambda: bare,
    "watching": lambda: watching,
    "starlette": starlette,
    "fastapi": fastapi,
    "litestar": litestar,
    "quart": quart,
    "quart_trio": quart_trio,
}
app = APPS[os.environ.get("APP", "bare")]()
