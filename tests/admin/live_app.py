"""The live page's server around a stand-in for the admin app, for tests."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import trio

from fanout.admin.guard import AdminGuard
from fanout.admin.live.app import Live
from fanout.admin.live.controls import Controls
from fanout.admin.turns import AdminTurns
from fanout.config import load
from fanout.loop.turns import never_busy
from fanout.observe.receipt import Receipt
from fanout.process.resources import open_transport
from fanout.process.service import Service
from fanout.server.asgi import App, Receive, Scope, Send, send_answer
from tests.blackbox.conftest import request

FREE = ["--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]
PAGE = ("X-Fanout-Live: 1", "Content-Type: application/json")


async def admin(scope: Scope, receive: Receive, send: Send) -> None:
    await send_answer(send, 200, [], b"admin")


def make_live(
    controls: Controls | None = None,
    latest: Sequence[Receipt] = (),
    turn: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
) -> Live:
    settings = load({}, {}).settings
    service = Service(settings, open_transport(settings))
    return Live(service.statistics, lambda: latest, controls, turn=turn)


def guarded(app: App, *hosts: str, turns: AdminTurns | None = None) -> AdminGuard:
    """As the service has it: inside of the guard. Without `turns` none is delayed."""
    return AdminGuard(app, hosts, turns or AdminTurns(never_busy))


def post(path: str, body: bytes, *fields: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", *fields, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


def control(base_url: str, what: str, value: object) -> dict[str, Any]:
    """POST as the page does."""
    parts = urlsplit(base_url)
    message = post(f"/live/control/{what}", json.dumps(value).encode(), f"Host: {parts.netloc}", *PAGE)
    with socket.create_connection((parts.hostname, parts.port), 10) as sock:
        sock.sendall(message.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    said: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return said


def wait_until(base_url: str, path: str, value: Any) -> None:
    deadline = time.monotonic() + 10
    while (found := _look(request(base_url, "/statistics").json, path)) != value:
        assert time.monotonic() < deadline, f"{path} is {found!r}"
        time.sleep(0.02)


def _look(statistics: Any, path: str) -> Any:
    for name in path.split("."):
        statistics = statistics.get(name)
    return statistics
