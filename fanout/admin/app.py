"""The admin app: its index, health, statistics, tasks, metrics, settings. It never calls the upstream.

It is plain ASGI with a table of paths. Work that takes time is split into pieces, each at its turn
(`admin_turns`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from prometheus_client import Metric

from fanout.admin.accept import accept_of, prefers
from fanout.admin.exposition import expose
from fanout.admin.index import index_page, index_style
from fanout.admin.live.app import HEADERS
from fanout.admin.tasks import TaskTrees, as_text
from fanout.config import Settings
from fanout.server.asgi import App, Receive, Scope, Send, send_answer, send_json

Turn = Callable[[], Awaitable[None]]
PLAIN: Final = "text/plain; charset=utf-8"


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """An answer: content type, body, status, and further header fields."""

    content_type: str
    body: bytes
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()


def make_admin(
    settings: Settings,
    is_ready: Callable[[], bool],
    statistics: Callable[[], Any],
    metrics: Callable[[], Iterable[Metric]],
    caught_up: Callable[[Turn], Awaitable[None]],
    turn: Turn,
    more_pages: Mapping[str, tuple[str, bytes]],
) -> App:
    """The admin app.

    is_ready: whether the server has started and is not shutting down.
    statistics: an immutable snapshot, a (nested) dataclass.
    metrics: the families of `/metrics`, one at a time.
    caught_up: returns when both include every request that has ended. It does its work in turns.
    turn: awaited before each piece of work.
    more_pages: what only this server has: content type and content by path.
    """

    async def livez(scope: Scope) -> Answer:
        # If this runs, the event loop works.
        return Answer(PLAIN, b"alive\n")  # noqa: ASYNC910 - sending it is a checkpoint

    async def readyz(scope: Scope) -> Answer:
        body, status = (b"ready\n", 200) if is_ready() else (b"not ready\n", 503)
        return Answer(PLAIN, body, status)  # noqa: ASYNC910 - sending it is a checkpoint

    async def show_statistics(scope: Scope) -> Answer:
        await caught_up(turn)
        return Answer("application/json", json.dumps(dataclasses.asdict(statistics())).encode("ascii"))

    async def show_metrics(scope: Scope) -> Answer:
        await caught_up(turn)
        content_type, body = await expose(metrics(), accept_of(scope), turn)
        # One address has two formats. `no-store` keeps a cache from mixing them up.
        return Answer(content_type, body, fields=(("Vary", "Accept"),))

    trees = TaskTrees(turn)

    async def show_tasks(scope: Scope) -> Answer:
        try:
            asked = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=1).get("request")
        except ValueError:
            error = {"error": "the only parameter is request, an id"}
            return Answer("application/json", json.dumps(error).encode("ascii"), 400)  # noqa: ASYNC910 - sending it is a checkpoint
        tree = await trees.of_process() if asked is None else await trees.of_request(asked[0])
        if tree is None:
            error = {"error": "no request with this id races now"}
            return Answer("application/json", json.dumps(error).encode("ascii"), 404)
        vary = (("Vary", "Accept"),)
        if prefers(accept_of(scope), "application/json", over="text/plain"):
            return Answer("application/json", json.dumps(tree).encode("ascii"), fields=vary)
        return Answer(PLAIN, as_text(tree).encode(), fields=vary)

    answers = {
        "/": _still("text/html; charset=utf-8", index_page(settings, more_pages)),
        "/index.css": _still("text/css; charset=utf-8", index_style()),
        "/config": _still("application/json", json.dumps(settings.shown(), indent=2).encode("ascii")),
        "/livez": livez,
        "/readyz": readyz,
        "/statistics": show_statistics,
        "/metrics": show_metrics,
        "/tasks": show_tasks,
        **{path: _still(content_type, content) for path, (content_type, content) in more_pages.items()},
    }

    async def admin(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _nothing_to_start(receive, send)
        elif scope["path"] == "*":  # OPTIONS of the server itself, RFC 9110 9.3.7
            await send_answer(send, 200, [("Allow", "GET, HEAD"), ("Cache-Control", "no-store")], b"")
        elif scope["path"] not in answers:
            await send_json(
                send, 404, {"error": "there is nothing here, see /"}, head_only=scope["method"] == "HEAD"
            )
        elif scope["method"] not in ("GET", "HEAD"):
            await send_json(send, 405, {"error": "allowed: GET, HEAD"}, ("Allow", "GET, HEAD"))
        else:
            answer = await answers[scope["path"]](scope)
            fields = [("Content-Type", answer.content_type), ("Cache-Control", "no-store"), *answer.fields]
            is_head = scope["method"] == "HEAD"
            await send_answer(send, answer.status, fields, answer.body, head_only=is_head)

    return admin


def _still(content_type: str, body: bytes) -> Callable[[Scope], Awaitable[Answer]]:
    """Answers that are always the same."""
    answer = Answer(content_type, body, fields=HEADERS)

    async def show(scope: Scope) -> Answer:
        return answer  # noqa: ASYNC910 - sending it is a checkpoint

    return show


async def _nothing_to_start(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})
