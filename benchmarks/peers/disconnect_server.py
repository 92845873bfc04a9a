"""The handler of `disconnect_app.py` on a server with an API of its own: aiohttp or robyn, nothing tuned.

UPSTREAM=http://127.0.0.1:9000/api/work python benchmarks/peers/disconnect_server.py aiohttp 8080
"""

from __future__ import annotations

import sys

from disconnect_app import work


def aiohttp(port: int, is_cancelled: bool) -> None:
    from aiohttp import web

    async def handler(request: web.Request) -> web.Response:
        await work()
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/work", handler)
    web.run_app(app, host="127.0.0.1", port=port, handler_cancellation=is_cancelled)


def robyn(port: int) -> None:
    from robyn import Robyn

    app = Robyn(__file__)

    @app.get("/work")
    async def handler() -> dict[str, str]:
        await work()
        return {}

    app.start(host="127.0.0.1", port=port)


def main() -> None:
    match sys.argv[1:]:
        case ["aiohttp", port, *options]:
            aiohttp(int(port), "handler_cancellation" in options)
        case ["robyn", port]:
            robyn(int(port))
        case words:
            sys.exit(f"not {' '.join(words)}; aiohttp PORT [handler_cancellation], or robyn PORT")


if __name__ == "__main__":
    main()
