"""`/live`: the page that shows requests as they happen, its event stream, and the trace file.

It is an ASGI app of its own around the admin app: the stream has no end, so no framework's timeout fits it,
and the files are a lookup. Only writes wait for a viewer, and the driver bounds their time.

Rule 1: every file is read once, at the start, and served from memory (G12).
Rule 2: the page works without the network, and under the policy below.
Rule 3: one trace file at a time is written, in small parts, each at its turn (`admin_turns`). The receipts
        are kept until its client has read it, so a client that takes longer than `TRACE_WITHIN_S` is cut.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import trio

import fanout
from fanout.admin.live.controls import Controls, control
from fanout.admin.live.feed import LiveFeed, Turn, nothing_waits
from fanout.admin.live.trace import trace_events
from fanout.admin.live.vitals import vitals
from fanout.observe.receipt import Receipt
from fanout.server.asgi import CLIENT_KEY, App, Receive, Scope, Send, send_answer, send_json

if TYPE_CHECKING:
    from fanout.admin.statistics import ServiceStatistics

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
NO_STORE: Final = ("Cache-Control", "no-store")
EVENTS_PER_PART: Final = 40  # of a trace file: about 0.3 ms
TRACE_WITHIN_S: Final = 30.0  # 4000 receipts are 1000 parts: 10 s on a loop that is always busy, else 1 s
MAX_REQUEST_IDS: Final = 16  # in the query of a trace file
_TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".md": "text/plain"}


class Live:
    """What belongs to the page. One a process; `feed.run` must run in the background."""

    def __init__(
        self,
        statistics: Callable[[], ServiceStatistics],
        latest: Callable[[], Sequence[Receipt]],
        controls: Controls | None,
        watched: Callable[[bool], object] = bool,
        caught_up: Callable[[Turn], Awaitable[None]] = nothing_waits,
        about: Callable[[], dict[str, Any]] = dict,
        turn: Turn = trio.lowlevel.checkpoint,
        feed_turn: Turn = trio.lowlevel.checkpoint,
    ) -> None:
        """latest: the receipts that are kept. controls: `None` but in the demo; then they do not exist.
        watched, caught_up: see `LiveFeed`. about: what the page shows of the server, as JSON.
        turn, feed_turn: awaited before each piece of work for one client, or for the feed."""
        self._latest = latest
        self._about_server = about
        self._controls = controls
        self._turn = turn
        self._files = _files()
        self._is_tracing = False
        self.feed = LiveFeed(lambda: vitals(statistics()), latest, self._about, watched, feed_turn, caught_up)

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
            await send_json(send, status, value, *HEADERS)
        elif scope["method"] not in ("GET", "HEAD"):
            await send_json(send, 405, {"error": "allowed: GET, HEAD"}, ("Allow", "GET, HEAD"), *HEADERS)
        elif path == "/live/events":
            await self._stream(scope, send)
        elif path == "/live/trace.json":
            await self._trace(scope, send)
        elif path in self._files:
            content_type, content = self._files[path]
            fields = [("Content-Type", content_type), NO_STORE, *HEADERS]
            await send_answer(send, 200, fields, content, head_only=scope["method"] == "HEAD")
        else:
            await send_json(send, 404, {"error": "there is nothing here"}, *HEADERS)

    def _about(self) -> dict[str, Any]:
        demo = None if self._controls is None else self._controls.upstream()
        return {"version": fanout.__version__, "demo": demo, **self._about_server()}

    async def _stream(self, scope: Scope, send: Send) -> None:
        """Send events until the client disconnects or does not keep up."""
        start = _start("text/event-stream; charset=utf-8")
        if scope["method"] == "HEAD":
            await _send_head(send, start)
            return
        viewer = self.feed.join()
        if viewer is None:
            await send_json(send, 503, {"error": "too many viewers"}, ("Retry-After", "5"), *HEADERS)
            return
        try:
            await send(start)
            with suppress(trio.ClosedResourceError):  # it did not keep up
                async for message in viewer:
                    await _send_part(send, message)
            await _send_end(send)
        finally:
            self.feed.leave(viewer)

    async def _trace(self, scope: Scope, send: Send) -> None:
        """The kept receipts, or those of `?request=ID`, as a trace-event file."""
        disposition = ("Content-Disposition", 'attachment; filename="fanout-trace.json"')
        start = _start("application/json", disposition)
        if scope["method"] == "HEAD":
            await _send_head(send, start)
            return
        try:
            wanted = _request_ids(scope["query_string"])
        except ValueError as error:
            await send_json(send, 400, {"error": str(error)}, *HEADERS)
            return
        if self._is_tracing:
            busy = "another client is reading the trace file: one may at a time"
            await send_json(send, 503, {"error": busy}, ("Retry-After", "5"), *HEADERS)
            return
        self._is_tracing = True
        try:
            with trio.move_on_after(TRACE_WITHIN_S) as within:
                await send(start)
                await self._send_trace(send, wanted)
        finally:
            self._is_tracing = False
        if within.cancelled_caught:
            scope[CLIENT_KEY].reads_too_slowly()
            await trio.lowlevel.checkpoint()  # raises Cancelled

    async def _send_trace(self, send: Send, wanted: frozenset[str] | None) -> None:
        receipts = [r for r in self._latest() if wanted is None or r.request_id in wanted]
        await self._turn()
        events = trace_events(receipts)
        part = b'{"displayTimeUnit": "ms", "traceEvents": ['
        separator = ""
        while batch := [json.dumps(event) for event in islice(events, EVENTS_PER_PART)]:
            await _send_part(send, part + (separator + ",\n".join(batch)).encode("ascii"))
            part, separator = b"", ",\n"
            await self._turn()
        await _send_part(send, part + b"]}\n")
        await _send_end(send)


@functools.cache
def _files() -> dict[str, tuple[str, bytes]]:
    """Content type and content by path."""
    found = {}
    for file in (resources.files("fanout.admin.live") / "static").iterdir():
        content_type = _TYPES.get(file.name[file.name.rfind(".") :])
        if content_type is not None:
            path = "/live" if file.name == "page.html" else f"/live/{file.name}"
            found[path] = (f"{content_type}; charset=utf-8", file.read_bytes())
    return found


def _start(content_type: str, *more: tuple[str, str]) -> dict[str, Any]:
    fields = [("Content-Type", content_type), NO_STORE, *HEADERS, *more]
    headers = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in fields]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _send_head(send: Send, start: dict[str, Any]) -> None:
    """Answer a HEAD request without making the body."""
    await send(start)
    await _send_end(send)


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def _send_end(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _request_ids(query: bytes) -> frozenset[str] | None:
    """The requests that a query selects; `None`: all. Raises `ValueError` for too many."""
    try:
        found = parse_qs(query.decode("latin-1"), max_num_fields=MAX_REQUEST_IDS).get("request")
    except ValueError:
        raise ValueError(f"the query has more than {MAX_REQUEST_IDS} parameters") from None
    return None if found is None else frozenset(found)
