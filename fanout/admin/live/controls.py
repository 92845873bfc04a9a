"""The controls of the demo: what the page can do, and which requests may do it.

Rule 1: only a page of this server may use them. `admin_guard` rejects other pages by `Host`, `Origin` and
        `Sec-Fetch-Site`. In addition, a browser asks the server before another page may send
        `X-Fanout-Live`, and the server never allows it.
Rule 2: a request is checked completely before anything is done. A wrong request does nothing, and its answer
        says why.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import trio

from fanout import bounded_json
from fanout.server.asgi import Receive, Scope

MAX_BODY_BYTES: Final = 4096
MARK: Final = b"x-fanout-live"


class Controls(Protocol):
    """What the demo can do. `ValueError`, in one sentence, for what it will not do."""

    @property
    def pages(self) -> Mapping[str, tuple[str, bytes]]:
        """What the admin listener has in the demo only: content type and content by path."""

    async def run(self, public: socket.socket, is_tls: bool) -> None:
        """The demo's part beside the server that listens on `public`. Ends only when it is cancelled."""

    def upstream(self) -> dict[str, Any]:
        """The simulated upstream's settings, as JSON."""

    def change_upstream(self, changes: object) -> dict[str, Any]:
        """Replace some of them. What they are then."""

    def fire(self, order: object) -> dict[str, Any]:
        """Send requests to the public listener, as real clients do. What will be sent."""


async def control(
    controls: Controls, path: str, scope: Scope, receive: Receive
) -> tuple[int, dict[str, Any]]:
    """Do what a request asks for. Status and JSON of the answer."""
    operations: dict[str, Callable[[object], dict[str, Any]]] = {
        "/live/control/upstream": controls.change_upstream,
        "/live/control/fire": controls.fire,
    }
    await trio.lowlevel.checkpoint()
    if path not in operations:
        return 404, {"error": "there is nothing here"}
    why_not = _why_not(scope)
    if why_not is not None:
        return why_not
    try:
        return 200, operations[path](await _json_body(receive))
    except ValueError as error:
        return 400, {"error": str(error)}


def _why_not(scope: Scope) -> tuple[int, dict[str, Any]] | None:
    fields: dict[bytes, bytes] = dict(scope["headers"])
    if scope["method"] != "POST":
        return 405, {"error": "allowed: POST"}
    if fields.get(MARK) != b"1" or fields.get(b"sec-fetch-site", b"same-origin") != b"same-origin":
        return 403, {"error": "only the page /live of this server may do that"}
    if fields.get(b"content-type") != b"application/json":
        return 415, {"error": "the body must be application/json"}
    return None


async def _json_body(receive: Receive) -> object:
    """Raises `ValueError` for what is no JSON, or too large."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"the body is larger than {MAX_BODY_BYTES} bytes")
        if not message.get("more_body", False):
            break
    try:
        return bounded_json.loads(body)
    except ValueError:
        raise ValueError("the body must be JSON") from None
