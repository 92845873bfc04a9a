"""The admin application: is it alive, is it ready, what is it doing. Never asks the upstream.

Plain ASGI: a table of paths. What takes time is done in pieces, each at its turn (`admin_turns`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from prometheus_client import Metric

from fanout.observe.metrics_exposition import expose
from fanout.web.asgi import App, Receive, Scope, Send, send_answer, send_json

Turn = Callable[[], Awaitable[None]]
PLAIN: Final = "text/plain; charset=utf-8"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """content_type, body and status of an answer, and header fields besides."""

    content_type: str
    body: bytes
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()


def make_admin(
    is_ready: Callable[[], bool],
    statistics: Callable[[], Any],
    metrics: Callable[[], Iterable[Metric]],
    caught_up: Callable[[Turn], Awaitable[None]],
    turn: Turn,
) -> App:
    """The admin app.

    is_ready: started and not draining.
    statistics: an immutable snapshot, a (nested) dataclass.
    metrics: what `/metrics` says, a family at a time.
    caught_up: returns when both know of every request that has ended. It does so in turns.
    turn: awaited before each piece of work.
    """

    async def livez(scope: Scope) -> Answer:
        # That this runs at all says that the loop turns.
        return Answer(PLAIN, b"alive\n")  # noqa: ASYNC910 - sending it is a checkpoint

    async def readyz(scope: Scope) -> Answer:
        body, status = (b"ready\n", 200) if is_ready() else (b"not ready\n", 503)
        return Answer(PLAIN, body, status)  # noqa: ASYNC910 - sending it is a checkpoint

    async def show_statistics(scope: Scope) -> Answer:
        await caught_up(turn)
        return Answer("application/json", json.dumps(dataclasses.asdict(statistics())).encode("ascii"))

    async def show_metrics(scope: Scope) -> Answer:
        await caught_up(turn)
        accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
        exposition = await expose(metrics(), accept, turn)
        # Two formats under one address: a cache must not mix them up, so it is told to keep neither.
        return Answer(exposition.content_type, exposition.body, fields=(("Vary", "Accept"),))

    answers = {
        "/livez": livez,
        "/readyz": readyz,
        "/statistics": show_statistics,
        "/metrics": show_metrics,
    }

    async def admin(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _nothing_to_start(receive, send)
        elif scope["path"] not in answers:
            await send_json(
                send, 404, {"error": "there is nothing here"}, head_only=scope["method"] == "HEAD"
            )
        elif scope["method"] not in ("GET", "HEAD"):
            await send_json(send, 405, {"error": "allowed: GET, HEAD"}, ("Allow", "GET, HEAD"))
        else:
            answer = await answers[scope["path"]](scope)
            fields = [("Content-Type", answer.content_type), ("Cache-Control", "no-store"), *answer.fields]
            is_head = scope["method"] == "HEAD"
            await send_answer(send, answer.status, fields, answer.body, head_only=is_head)

    return admin


async def _nothing_to_start(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})
