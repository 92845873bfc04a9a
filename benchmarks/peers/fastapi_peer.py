"""The peer as most would build it: FastAPI on uvicorn, with httpx as the client.

    python benchmarks/peers/fastapi_peer.py --bind 127.0.0.1:8080 --upstream http://127.0.0.1:9000/api/work

Tuned: uvloop, httptools, no access log, a long listen queue, one shared client without a limit of connections
that keeps 20 (httpx's default; with 200 or more it does not stand 250 requests a second), the payload passed
on as bytes (no model, no second encoding). Not tuned: httpx's own transport, and a client that hangs up does
not end its calls, as FastAPI does not tell. The rules are `rules.py`'s. Not here: ids, receipts, statistics,
drain, and any protection from overload.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import uvicorn
from fastapi import FastAPI, Query, Request, Response
from rules import RESERVE_S, is_success, problem_body, timeout_ms

Limit = Annotated[str, Query(alias="timeout")]
KEPT = 20  # httpx's default: its pool looks at every connection for every request, so more of them cost more
NO_STORE = {"Cache-Control": "no-store"}


def answer(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers=NO_STORE)


def problem(status: int, reason: str) -> Response:
    return Response(problem_body(status, reason), status, NO_STORE, "application/problem+json")


def application(upstream: str) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT)
        async with httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    async def call(client: httpx.AsyncClient) -> bytes | None:
        """One upstream call: its payload, or `None` if it failed."""
        try:
            response = await client.get(upstream)
        except httpx.HTTPError:
            return None
        return response.content if is_success(response.status_code, response.content) else None

    @app.get("/api/first")
    async def first(request: Request, limit: Limit = "1000") -> Response:
        limit_ms = timeout_ms(limit)
        if limit_ms is None:
            return problem(400, "invalid_timeout")
        pending = {asyncio.create_task(call(request.app.state.client)) for _ in range(2)}
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
        client = request.app.state.client
        try:
            async with asyncio.timeout(limit_ms / 1000 - RESERVE_S):
                bodies = await asyncio.gather(call(client), call(client))
        except TimeoutError:
            return problem(500, "deadline")
        successes = [body for body in bodies if body is not None]
        return answer(b"[" + b",".join(successes) + b"]") if successes else problem(500, "no_success")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bind", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--upstream", required=True, metavar="URL")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    host, _, port = options.bind.rpartition(":")
    uvicorn.run(
        application(options.upstream),
        host=host,
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="critical",
        backlog=4096,
    )


if __name__ == "__main__":
    main()
