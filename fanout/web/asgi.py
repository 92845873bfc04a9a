"""The ASGI types in use, and the one way an answer is sent without the framework.

Scopes and messages are plain dictionaries here: the TypedDicts of frameworks and servers do not agree.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

ARRIVAL_KEY: Final = "fanout.arrived_at"  # in a scope: Trio's clock in seconds, when the head was read

Scope = Any
Message = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def send_answer(
    send: Send, status: int, headers: Iterable[tuple[str, str]], body: bytes, *, head_only: bool = False
) -> None:
    """Send one complete answer. `head_only`: a HEAD request gets the length and not the body."""
    fields = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in headers]
    fields.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": b"" if head_only else body, "more_body": False})
