"""The peer on fanout's own stack, as one would first write it: Quart-Trio on hypercorn, httpx as the client.

    python benchmarks/peers/quart_trio_peer.py --bind 127.0.0.1:8080 --upstream http://127.0.0.1:9000/api/work

Tuned: no access log, a long listen queue, one shared client without a limit of connections that keeps 20
(httpx's default, the fastest of those tried with FastAPI), the payload passed on as bytes. Not tuned:
everything else is as the libraries come: hypercorn's protocols, Quart's routing, httpx's transport and pool.
The rules are `rules.py`'s. Not here: ids, receipts, statistics, and any protection from overload.
"""

from __future__ import annotations

import argparse
import logging
import sys

import httpx
import hypercorn.trio
import trio
from hypercorn.config import Config
from quart import Response, request
from quart_trio import QuartTrio
from rules import RESERVE_S, is_success, problem_body, timeout_ms

KEPT = 20  # httpx's default: its pool looks at every connection for every request, so more of them cost more
NO_STORE = {"Cache-Control": "no-store"}


def answer(body: bytes) -> Response:
    return Response(body, 200, NO_STORE, content_type="application/json")


def problem(status: int, reason: str) -> Response:
    return Response(problem_body(status, reason), status, NO_STORE, content_type="application/problem+json")


def application(upstream: str, client: httpx.AsyncClient) -> QuartTrio:
    app = QuartTrio(__name__)

    async def call() -> bytes | None:
        """One upstream call: its payload, or `None` if it failed."""
        try:
            response = await client.get(upstream)
        except httpx.HTTPError:
            return None
        return response.content if is_success(response.status_code, response.content) else None

    @app.get("/api/first")
    async def first() -> Response:
        limit_ms = timeout_ms(request.args.get("timeout", "1000"))
        if limit_ms is None:
            return problem(400, "invalid_timeout")
        won: list[bytes] = []
        with trio.move_on_after(limit_ms / 1000 - RESERVE_S) as deadline:
            async with trio.open_nursery() as nursery:

                async def race() -> None:
                    body = await call()
                    if body is not None:
                        won.append(body)
                        nursery.cancel_scope.cancel()

                nursery.start_soon(race)
                nursery.start_soon(race)
        if won:
            return answer(won[0])
        return problem(500, "deadline" if deadline.cancelled_caught else "no_success")

    @app.get("/api/all")
    async def every() -> Response:
        limit_ms = timeout_ms(request.args.get("timeout", "1000"))
        if limit_ms is None:
            return problem(400, "invalid_timeout")
        bodies: list[bytes | None] = [None, None]
        with trio.move_on_after(limit_ms / 1000 - RESERVE_S) as deadline:
            async with trio.open_nursery() as nursery:

                async def one(number: int) -> None:
                    bodies[number] = await call()

                nursery.start_soon(one, 0)
                nursery.start_soon(one, 1)
        if deadline.cancelled_caught:
            return problem(500, "deadline")
        successes = [body for body in bodies if body is not None]
        return answer(b"[" + b",".join(successes) + b"]") if successes else problem(500, "no_success")

    return app


async def serve(bind: str, upstream: str) -> None:
    config = Config()
    config.bind = [bind]
    config.backlog = 4096
    config.errorlog = None
    config.keep_alive_max_requests = sys.maxsize  # a closed one would cost its client a request
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=KEPT)
    async with httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:
        await hypercorn.trio.serve(application(upstream, client), config)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bind", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--upstream", required=True, metavar="URL")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    trio.run(serve, options.bind, options.upstream)


if __name__ == "__main__":
    main()
