"""The peer on asyncio: aiohttp's server and client, on uvloop where it is installed.

    python benchmarks/peers/aiohttp_peer.py --bind 127.0.0.1:8080 --upstream http://127.0.0.1:9000/api/work

Tuned: C parsers, no access log, no limit of upstream connections, a long listen queue, the payload passed on
as bytes, a caller that hangs up cancels its handler. The same rules as fanout: two calls a request, the same
check of a payload, the race ends 20 ms before the timeout. Not here: ids, receipts, statistics, drain, and
any protection from overload, as aiohttp has none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging

import aiohttp
from aiohttp import web

RESERVE_S = 0.020
MAX_TIMEOUT_MS = 30_000
MAX_BODY_BYTES = 64 * 1024
SESSION = web.AppKey("session", aiohttp.ClientSession)
UPSTREAM = web.AppKey("upstream", str)
NO_STORE = {"Cache-Control": "no-store"}


def answer(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=NO_STORE)


def problem(status: int, reason: str) -> web.Response:
    body = json.dumps({"type": "about:blank", "title": reason, "status": status, "reason": reason}).encode()
    return web.Response(status=status, body=body, content_type="application/problem+json", headers=NO_STORE)


def timeout_ms(request: web.Request) -> int | None:
    """The caller's timeout, or `None` if it is not a valid one."""
    text = request.query.get("timeout", "1000")
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        return None
    return int(text) if 1 <= int(text) <= MAX_TIMEOUT_MS else None


async def call(app: web.Application) -> bytes | None:
    """One upstream call: its payload, or `None` if it failed."""
    try:
        async with app[SESSION].get(app[UPSTREAM]) as response:
            body = await response.read()
            if response.status != 200 or len(body) > MAX_BODY_BYTES:
                return None
        payload = json.loads(body)
    except (aiohttp.ClientError, ValueError):
        return None
    time = payload.get("time") if isinstance(payload, dict) else None
    return body if type(time) is int and time >= 0 else None


async def first(request: web.Request) -> web.Response:
    limit_ms = timeout_ms(request)
    if limit_ms is None:
        return problem(400, "invalid_timeout")
    pending = {asyncio.create_task(call(request.app)) for _ in range(2)}
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


async def every(request: web.Request) -> web.Response:
    limit_ms = timeout_ms(request)
    if limit_ms is None:
        return problem(400, "invalid_timeout")
    try:
        async with asyncio.timeout(limit_ms / 1000 - RESERVE_S):
            bodies = await asyncio.gather(call(request.app), call(request.app))
    except TimeoutError:
        return problem(500, "deadline")
    successes = [body for body in bodies if body is not None]
    return answer(b"[" + b",".join(successes) + b"]") if successes else problem(500, "no_success")


async def serve(host: str, port: int, upstream: str) -> None:
    app = web.Application()
    app[UPSTREAM] = upstream
    app.router.add_get("/api/first", first)
    app.router.add_get("/api/all", every)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as session:
        app[SESSION] = session
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, host, port, backlog=4096).start()
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bind", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--upstream", required=True, metavar="URL")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    try:
        import uvloop

        run = uvloop.run
    except ImportError:
        run = asyncio.run
    host, _, port = options.bind.rpartition(":")
    run(serve(host, int(port), options.upstream))


if __name__ == "__main__":
    main()
