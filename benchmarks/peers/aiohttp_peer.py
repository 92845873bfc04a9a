"""The peer on asyncio: aiohttp's server and client, on uvloop unless another loop is asked for.

    python benchmarks/peers/aiohttp_peer.py --bind 127.0.0.1:8080 --upstream http://127.0.0.1:9000/api/work

On uvloop it is tuned: C parsers, no access log, no limit of upstream connections, a long listen queue, the
payload passed on as bytes and never decompressed, Python's garbage collector set as in fanout, and a client
disconnect cancels its handler. With `--loop asyncio` it is as people run it: the default collector, and it
decompresses. The same rules as fanout: two calls a request, the same check of a payload, the race ends 20 ms
before the timeout. Not here: ids, receipts, statistics, drain, and
any protection from overload, as aiohttp has none.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import ssl

import aiohttp
from aiohttp import web
from rules import RESERVE_S, is_success, problem_body, timeout_ms

SESSION = web.AppKey("session", aiohttp.ClientSession)
UPSTREAM = web.AppKey("upstream", str)
GC_THRESHOLD = 1_000_000
NO_STORE = {"Cache-Control": "no-store"}


def answer(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=NO_STORE)


def problem(status: int, reason: str) -> web.Response:
    body = problem_body(status, reason)
    return web.Response(status=status, body=body, content_type="application/problem+json", headers=NO_STORE)


async def call(app: web.Application) -> bytes | None:
    """One upstream call: its payload, or `None` if it failed."""
    try:
        async with app[SESSION].get(app[UPSTREAM]) as response:
            body = await response.read()
    except aiohttp.ClientError:
        return None
    return body if is_success(response.status, body) else None


async def first(request: web.Request) -> web.Response:
    limit_ms = timeout_ms(request.query.get("timeout", "1000"))
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
    limit_ms = timeout_ms(request.query.get("timeout", "1000"))
    if limit_ms is None:
        return problem(400, "invalid_timeout")
    try:
        async with asyncio.timeout(limit_ms / 1000 - RESERVE_S):
            bodies = await asyncio.gather(call(request.app), call(request.app))
    except TimeoutError:
        return problem(500, "deadline")
    successes = [body for body in bodies if body is not None]
    return answer(b"[" + b",".join(successes) + b"]") if successes else problem(500, "no_success")


async def serve(host: str, port: int, upstream: str, trust: ssl.SSLContext | bool, is_tuned: bool) -> None:
    app = web.Application()
    app[UPSTREAM] = upstream
    app.router.add_get("/api/first", first)
    app.router.add_get("/api/all", every)
    connector = aiohttp.TCPConnector(limit=0, ssl=trust)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=jar, auto_decompress=not is_tuned
    ) as session:
        app[SESSION] = session
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, host, port, backlog=4096).start()
        if is_tuned:
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bind", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--upstream", required=True, metavar="URL")
    parser.add_argument("--ca", metavar="FILE", help="trust this authority for an https upstream")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    trust = ssl.create_default_context(cafile=options.ca) if options.ca else True
    host, _, port = options.bind.rpartition(":")
    serving = serve(host, int(port), options.upstream, trust, options.loop == "uvloop")
    if options.loop == "uvloop":
        import uvloop

        uvloop.run(serving)
    else:
        asyncio.run(serving)


if __name__ == "__main__":
    main()
