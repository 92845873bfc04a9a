"""The peer on asyncio: aiohttp's server and client, as they come, on uvloop, or tuned.

    python benchmarks/peers/aiohttp_peer.py --bind 127.0.0.1:8080 --upstream http://127.0.0.1:9000/api/work

Without `--loop` it is the fastest that we know: uvloop, Python's garbage collector set exactly as fanout
sets it, eager tasks where Python has them (3.12), and the client of `aiohttp_client.py` tuned. `--loop` picks
a loop and tunes nothing else. Always: C parsers, no access log, no limit of upstream connections, a long
listen queue, the payload passed on as bytes, and a client disconnect cancels its handler. The same rules as
fanout: two calls a request, the same check of a payload, the race ends 20 ms before the timeout. Not here:
ids, receipts, statistics, drain, and any protection from overload, as aiohttp has none.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import ssl

import aiohttp
import yarl
from aiohttp import web
from aiohttp_client import call, open_session, target
from rules import RESERVE_S, problem_body, timeout_ms, tune_process, use_eager_tasks

SESSION = web.AppKey("session", aiohttp.ClientSession)
UPSTREAM: web.AppKey[str | yarl.URL] = web.AppKey("upstream")
NO_STORE = {"Cache-Control": "no-store"}


def answer(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json", headers=NO_STORE)


def problem(status: int, reason: str) -> web.Response:
    body = problem_body(status, reason)
    return web.Response(status=status, body=body, content_type="application/problem+json", headers=NO_STORE)


async def first(request: web.Request) -> web.Response:
    limit_ms = timeout_ms(request.query.get("timeout", "1000"))
    if limit_ms is None:
        return problem(400, "invalid_timeout")
    session, url = request.app[SESSION], request.app[UPSTREAM]
    pending = {asyncio.create_task(call(session, url)) for _ in range(2)}
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
    session, url = request.app[SESSION], request.app[UPSTREAM]
    try:
        async with asyncio.timeout(limit_ms / 1000 - RESERVE_S):
            bodies = await asyncio.gather(call(session, url), call(session, url))
    except TimeoutError:
        return problem(500, "deadline")
    successes = [body for body in bodies if body is not None]
    return answer(b"[" + b",".join(successes) + b"]") if successes else problem(500, "no_success")


async def serve(host: str, port: int, upstream: str, trust: ssl.SSLContext | bool, is_tuned: bool) -> None:
    if is_tuned:
        use_eager_tasks()
    app = web.Application()
    app[UPSTREAM] = target(upstream, is_tuned)
    app.router.add_get("/api/first", first)
    app.router.add_get("/api/all", every)
    async with open_session(trust, is_tuned) as session:
        app[SESSION] = session
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, host, port, backlog=4096).start()
        if is_tuned:
            tune_process()
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bind", default="127.0.0.1:8080", metavar="HOST:PORT")
    parser.add_argument("--upstream", required=True, metavar="URL")
    parser.add_argument("--ca", metavar="FILE", help="trust this authority for an https upstream")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), help="this one, and nothing tuned")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    trust = ssl.create_default_context(cafile=options.ca) if options.ca else True
    host, _, port = options.bind.rpartition(":")
    serving = serve(host, int(port), options.upstream, trust, is_tuned=options.loop is None)
    if options.loop == "asyncio":
        asyncio.run(serving)
    else:
        import uvloop

        uvloop.run(serving)


if __name__ == "__main__":
    main()
