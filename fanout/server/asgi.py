"""The ASGI types in use, and the one way an answer is sent without the framework.

Scopes and messages are plain dictionaries here: the TypedDicts of frameworks and servers do not agree.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

from fanout.server.head import Head
from fanout.server.transport import Transport

# In a scope, from our own driver:
ARRIVAL_KEY: Final = "fanout.arrived_at"  # Trio's clock in seconds, when the head was read
CLIENT_KEY: Final = "fanout.client"  # a `Client`; a client disconnect cancels the app, without `receive`

# A message to our own driver (whose scopes have a client): a complete answer, `status`, `headers` and `body`.
ANSWER: Final = "fanout.answer"

Scope = Any
Message = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Client(Protocol):
    """The client of a request."""

    @property
    def left_at(self) -> float | None:
        """Trio's clock in seconds, when the client disconnect was noticed. `None`: there was none."""

    def reads_too_slowly(self) -> None:
        """Reset the connection and cancel the app, because the client has not read a long answer in time."""


def http_scope(
    head: Head, transport: Transport, lifespan_state: dict[str, Any], arrived_at: float, client: Client
) -> Scope:
    """The scope of one request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "method": head.method,
        "scheme": transport.scheme,
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "root_path": "",
        "headers": head.fields,
        "client": transport.client,
        "server": transport.server,
        "state": lifespan_state.copy(),
        "extensions": {},
        ARRIVAL_KEY: arrived_at,
        CLIENT_KEY: client,
    }


def start_of(start: Message | None, message: Message) -> Message:
    """The message that has the head of the answer, once the app has sent `message`. start: before that.

    Raises `RuntimeError` for a message that may not be sent now.
    """
    kind = message["type"]
    if start is None and kind in ("http.response.start", ANSWER):
        return message
    if start is not None and kind == "http.response.body":
        return start
    raise RuntimeError(f"{kind} is not expected now")


async def send_answer(
    send: Send, status: int, headers: Iterable[tuple[str, str]], body: bytes, *, head_only: bool = False
) -> None:
    """Send one complete answer. `head_only`: a HEAD request gets the length and not the body."""
    fields = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers]
    fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": b"" if head_only else body, "more_body": False})


async def send_json(
    send: Send, status: int, value: object, *fields: tuple[str, str], head_only: bool = False
) -> None:
    """Send one complete JSON answer with these further header fields."""
    headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store"), *fields]
    await send_answer(send, status, headers, json.dumps(value).encode("ascii"), head_only=head_only)
