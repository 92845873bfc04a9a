"""The peer as most would build it: FastAPI, on uvicorn or granian, with httpx or aiohttp as the client.

    python benchmarks/peers/fastapi_peer.py --bind 127.0.0.1:8080 --upstream http://127.0.0.1:9000/api/work

Tuned: uvloop, parsers in C or Rust, no access log, a long listen queue, one shared client without a limit of
connections, the payload passed on as bytes (no model, no second encoding). httpx keeps 20 of its connections,
its default; with 200 or more it does not stand 250 requests a second. With `--client aiohttp` the client is
that of `aiohttp_client.py`, tuned, and Python's garbage collector is set as fanout sets it. Not tuned:
httpx's own transport, and a client that hangs up does not end its calls, as FastAPI does not tell. The rules
are `rules.py`'s. Not here: ids, receipts, statistics, drain, and any protection from overload.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from rules import RESERVE_S, is_success, problem_body, timeout_ms, tune_process

Limit = Annotated[str, Query(alias="timeout")]
Call = Callable[[], Awaitable[bytes | None]]
KEPT = 20  # httpx's default: its pool looks at every connection for every request, so more of them cost more
BACKLOG = 4096
NO_STORE = {"Cache-Control": "no-store"}


def answer(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers=NO_STORE)


def problem(status: int, reason: str) -> Response:
    return Response(problem_body(status, reason), status, NO_STORE, "application/problem+json")


@asynccontextmanager
async def calls_by_httpx(upstream: str) -> AsyncIterator[Call]:
    import httpx

    async def call() -> bytes | None:
        """One upstream call: its payload, or `None` if it failed."""
        try:
            response = await client.get(upstream)
        except httpx.HTTPError:
            return None
        return response.content if is_success(response.status_code, response.content) else None

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT)
    async with httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:
        yield call


@asynccontextmanager
async def calls_by_aiohttp(upstream: str) -> AsyncIterator[Call]:
    from aiohttp_client import call, open_session, target

    url = target(upstream, is_tuned=True)
    async with open_session(trust=True, is_tuned=True) as session:
        tune_process()
        yield lambda: call(session, url)


def application(upstream: str, client: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (calls_by_httpx if client == "httpx" else calls_by_aiohttp)(upstream) as call:
            app.state.call = call
            yield

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    @app.get("/api/first")
    async def first(request: Request, limit: Limit = "1000") -> Response:
        limit_ms = timeout_ms(limit)
        if limit_ms is None:
            return problem(400, "invalid_timeout")
        call: Call = request.app.state.call
        pending = {asyncio.create_task(call()) for _ in range(2)}
        try:
            async with asyncio.timeout(limit_ms / 1000 - RESERVE_S):
                while pending:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        body = task.result()
                        if body is not None:
                            return answer(body)
        except TimeoutError:
            return problem(500, "deadline")
        finally:
            for task in pending:
                task.cancel()
        return problem(500, "no_success")

    @app.get("/api/all")
    async def every(request: Request, limit: Limit = "1000") -> Response:
        limit_ms = timeout_ms(limit)
        if limit_ms is None:
            return problem(400, "invalid_timeout")
        call: Call = request.app.state.call
        try:
            async with asyncio.timeout(limit_ms / 1000 - RESERVE_S):
                bodies = await asyncio.gather(call(), call())
        except TimeoutError:
            return problem(500, "deadline")
        successes = [body for body in bodies if body is not None]
        return answer(b"[" + b",".join(successes) + b"]") if successes else problem(500, "no_success")

    return app


def of_worker() -> FastAPI:
    """The application in granian's worker, a process of its own."""
    logging.disable(logging.CRITICAL)
    return application(os.environ["UPSTREAM"], os.environ["CLIENT"])


def serve_by_uvicorn(host: str, port: int, upstream: str, client: str) -> None:
    import uvicorn

    uvicorn.run(
        application(upstream, client),
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="critical",
        backlog=BACKLOG,
    )


def serve_by_granian(host: str, port: int, upstream: str, client: str) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces, Loops

    os.environ.update(UPSTREAM=upstream, CLIENT=client)
    Granian(
        "fastapi_peer:of_worker",
        factory=True,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
        backlog=BACKLOG,
    ).serve()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bind", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--upstream", required=True, metavar="URL")
    parser.add_argument("--server", choices=("uvicorn", "granian"), default="uvicorn")
    parser.add_argument("--client", choices=("httpx", "aiohttp"), default="httpx")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    host, _, port = options.bind.rpartition(":")
    serve = serve_by_uvicorn if options.server == "uvicorn" else serve_by_granian
    serve(host, int(port), options.upstream, options.client)


if __name__ == "__main__":
    main()
