"""`/live`: the page that shows requests as they happen, its event stream, and the trace file.

An ASGI app of its own around the admin app: the stream has no end, so no framework's timeout fits it, and
the files are a lookup. Everything that may wait on a viewer is a write, and the driver bounds those in time.

Rule 1: every file is read once, at the start, and served from memory (G12).
Rule 2: the page works without the network, and under the policy below.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import trio

import fanout
from fanout.observe.live_feed import LiveFeed
from fanout.observe.live_trace import trace_events
from fanout.observe.receipt import Receipt
from fanout.web.asgi import App, Receive, Scope, Send, send_answer
from fanout.web.live_controls import Controls, control
from fanout.web.live_vitals import vitals

if TYPE_CHECKING:
    from fanout.web.service import ServiceStatistics

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
EVENTS_A_WRITE: Final = 100  # of a trace file: a millisecond, then others may run
_TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}


class Live:
    """What belongs to the page. One a process; `feed.run` must run in the background."""

    def __init__(
        self,
        statistics: Callable[[], ServiceStatistics],
        latest: Callable[[], Sequence[Receipt]],
        controls: Controls | None,
        watched: Callable[[bool], object] = bool,
    ) -> None:
        """latest: the receipts that are kept. controls: `None` but in the demo; then they do not exist.
        watched: see `LiveFeed`."""
        self._latest = latest
        self._controls = controls
        self._files = _files()
        self.feed = LiveFeed(lambda: vitals(statistics()), latest, self._about, watched)

    def around(self, app: App) -> App:
        """`app`, with `/live` and everything below it."""

        async def live_or(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope["path"] if scope["type"] == "http" else ""
            if path == "/live" or path.startswith("/live/"):
                await self._answer(path, scope, receive, send)
            else:
                await app(scope, receive, send)

        return live_or

    async def _answer(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if path.startswith("/live/control/") and self._controls is not None:
            status, value = await control(self._controls, path, scope, receive)
            await _send_json(send, status, value)
        elif scope["method"] not in ("GET", "HEAD"):
            await _send_json(send, 405, {"error": "allowed: GET, HEAD"}, ("Allow", "GET, HEAD"))
        elif path == "/live/events":
            await self._stream(scope, receive, send)
        elif path == "/live/trace.json":
            await self._trace(scope, send)
        elif path in self._files:
            content_type, content = self._files[path]
            fields = [("Content-Type", content_type), *HEADERS]
            await send_answer(send, 200, fields, content, head_only=scope["method"] == "HEAD")
        else:
            await _send_json(send, 404, {"error": "there is nothing here"})

    def _about(self) -> dict[str, Any]:
        demo = None if self._controls is None else self._controls.upstream()
        return {"version": fanout.__version__, "demo": demo}

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Server-sent events, until the viewer leaves or does not keep up."""
        viewer = self.feed.join()
        if viewer is None:
            await _send_json(send, 503, {"error": "too many viewers"}, ("Retry-After", "5"))
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_left, receive, nursery.cancel_scope)
                await send(_start("text/event-stream; charset=utf-8"))
                if scope["method"] == "GET":
                    async for message in viewer:
                        await send({"type": "http.response.body", "body": message, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                nursery.cancel_scope.cancel(reason="the stream has ended")
        finally:
            self.feed.leave(viewer)

    async def _trace(self, scope: Scope, send: Send) -> None:
        """The kept receipts, or those of `?request=ID`, as a trace-event file, written in parts."""
        wanted = parse_qs(scope["query_string"].decode("latin-1")).get("request")
        receipts = [r for r in self._latest() if wanted is None or r.request_id in wanted]
        name = "fanout-trace.json"
        await send(_start("application/json", ("Content-Disposition", f'attachment; filename="{name}"')))
        await _send_part(send, '{"displayTimeUnit": "ms", "traceEvents": [')
        separator = ""
        events = trace_events(receipts)
        while batch := [json.dumps(event) for event in islice(events, EVENTS_A_WRITE)]:
            await _send_part(send, separator + ",\n".join(batch))
            separator = ",\n"
        await send({"type": "http.response.body", "body": b"]}\n", "more_body": False})


@functools.cache
def _files() -> dict[str, tuple[str, bytes]]:
    """Content type and content by path."""
    found = {}
    for file in (resources.files("fanout.web") / "static" / "live").iterdir():
        content_type = _TYPES.get(file.name[file.name.rfind(".") :])
        if content_type is not None:
            path = "/live" if file.name == "page.html" else f"/live/{file.name}"
            found[path] = (f"{content_type}; charset=utf-8", file.read_bytes())
    return found


async def _cancel_when_left(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel(reason="the viewer left")


def _start(content_type: str, *more: tuple[str, str]) -> dict[str, Any]:
    fields = [("Content-Type", content_type), *HEADERS, *more]
    headers = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in fields]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _send_part(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode("ascii"), "more_body": True})


async def _send_json(send: Send, status: int, value: object, *more: tuple[str, str]) -> None:
    fields = [("Content-Type", "application/json"), *HEADERS, *more]
    await send_answer(send, status, fields, json.dumps(value).encode("ascii"))
