"""The short way through Quart: what it relies on is there, and a handler sees no difference."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from inspect import getattr_static
from typing import Any

import pytest
import trio
from quart import (
    abort,
    after_this_request,
    current_app,
    g,
    has_app_context,
    has_request_context,
    request,
    signals,
    url_for,
)
from werkzeug.exceptions import Conflict

from fanout.api.framework import App, BodylessRequest, WholeResponse
from fanout.server.asgi import ANSWER, CLIENT_KEY, Message, Receive, Scope, Send

AWAITED = {"data", "files", "form", "json", "stream", "values"}
OF_AN_INSTANCE = [
    *("headers", "http_version", "method", "path", "query_string", "remote_addr", "root_path"),
    *("scheme", "scope", "server"),
]
PUBLIC = [
    name
    for name in [*dir(BodylessRequest), *OF_AN_INSTANCE]
    if not (name.startswith("_") or name in AWAITED or callable(getattr_static(BodylessRequest, name, None)))
]
Handler = Callable[[], Awaitable[Any]]


class Never:
    left_at = None


def scope_of(path: str, method: str = "GET", *, host: bytes = b"example.test:81") -> Scope:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": b"timeout=7&b=%C3%A4",
        "root_path": "",
        "headers": [(b"host", host), (b"cookie", b"a=b"), (b"x-one", b"1")],
        "client": ("192.0.2.1", 1234),
        "server": ("192.0.2.2", 81),
        "state": {},
        "extensions": {},
    }
    return scope | {CLIENT_KEY: Never()}


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    kinds: list[str] = field(default_factory=list)


async def ask(app: App, path: str, method: str = "GET", *, host: bytes = b"example.test:81") -> Answer:
    """What the app answers to the server."""
    answer = Answer()

    async def send(message: Message) -> None:
        answer.kinds.append(message["type"])
        answer.status = message.get("status", answer.status)
        answer.headers += message.get("headers", [])
        answer.body += message.get("body", b"")

    async def receive() -> Message:
        return await trio.sleep_forever()

    await app(scope_of(path, method, host=host), receive, send)
    return answer


def app_with(handler: Handler) -> App:
    app = App("test")
    app.add_url_rule("/short", "short", handler)
    app.add_url_rule("/long/<int:number>", "long", handler)
    return app


async def done() -> str:
    return "done"


@pytest.mark.parametrize("path", ["/short", "/long/1"])
async def test_an_answer_is_one_message(path: str) -> None:
    async def handler(number: int = 0) -> str:
        return "done"

    app = app_with(handler)
    assert set(app.routes) == {("GET", "/short"), ("HEAD", "/short")}  # not that with a variable
    answer = await ask(app, path)
    assert (answer.kinds, answer.body) == ([ANSWER], b"done")


async def test_a_stream_is_answered_part_by_part() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def handler() -> Any:
        return parts(), 201

    answer = await ask(app_with(handler), "/short")
    assert (answer.status, answer.body) == (201, b"one two")
    assert answer.kinds == ["http.response.start", *["http.response.body"] * 3]


async def test_what_is_put_around_the_app_as_quart_has_it_is_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`app.asgi_app = Middleware(app.asgi_app)` is how its documentation puts it there."""
    app = app_with(done)
    seen: list[str] = []
    inner = app.asgi_app

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await inner(scope, receive, send)

    monkeypatch.setattr(app, "asgi_app", around)
    assert (await ask(app, "/short")).body == b"done"
    assert seen == ["/short"]


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_is_quarts(kind: str) -> None:
    app = app_with(done)
    asked: list[Scope] = []

    def made(app: App, scope: Scope) -> Callable[..., Awaitable[None]]:
        async def take(receive: Receive, send: Send) -> None:
            asked.append(scope)

        return take

    setattr(app, f"asgi_{kind}_class", made)

    async def receive() -> Message:
        return await trio.sleep_forever()

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await app({"type": kind}, receive, send)
    assert asked == [{"type": kind}]


async def test_other_methods_are_answered_as_quart_answers_them() -> None:
    app = app_with(done)
    assert (await ask(app, "/short", "HEAD")).status == 200
    assert (await ask(app, "/short", "POST")).status == 405
    options = await ask(app, "/short", "OPTIONS")
    assert {word.strip() for word in dict(options.headers)[b"allow"].split(b",")} == {
        b"GET",
        b"HEAD",
        b"OPTIONS",
    }


async def test_a_handler_sees_what_it_would_see_the_long_way() -> None:
    """Every public attribute of Quart's request, read in a handler on either way."""
    seen: list[dict[str, Any]] = []

    async def look() -> str:
        values = {name: getattr(request, name) for name in PUBLIC}
        g.mine = 1
        values["g"] = g.mine
        values["app"] = current_app.name
        values["url"] = url_for("long", number=5)
        seen.append(values)
        return "done"

    app = app_with(look)
    await ask(app, "/short")
    app.is_plain = lambda: False  # type: ignore[method-assign]
    await ask(app, "/short")
    short, long = seen
    assert [name for name in long if repr(short[name]) != repr(long[name])] == [
        "scope"
    ]  # a client of its own
    assert short["scope"] | {CLIENT_KEY: None} == long["scope"] | {CLIENT_KEY: None}


async def test_an_attribute_that_no_request_has_is_an_attribute_error() -> None:
    async def handler() -> str:
        with pytest.raises(AttributeError, match="nonsense"):
            request.nonsense  # type: ignore[attr-defined]  # noqa: B018 - the access is the test
        return request.host

    assert (await ask(app_with(handler), "/short")).body == b"example.test:81"


async def test_what_a_handler_asks_to_be_done_with_its_response_is_done() -> None:
    async def handler() -> str:
        @after_this_request
        async def mark(response: Any) -> Any:
            response.headers["x-marked"] = "1"
            return response

        return "done"

    assert (b"x-marked", b"1") in (await ask(app_with(handler), "/short")).headers


@pytest.mark.parametrize("path", ["/short", "/long/1"])
async def test_what_a_handler_raises_is_quarts_to_deal_with(path: str) -> None:
    async def handler(number: int = 0) -> str:
        if request.args["timeout"] == "7":
            abort(409)
        raise AssertionError

    app = app_with(handler)
    assert (await ask(app, path)).status == 409

    async def conflict(error: Conflict) -> tuple[str, int]:
        return f"{request.path} is taken, {g.get('mine')}", 418

    app = app_with(handler)
    app.register_error_handler(Conflict, conflict)
    answer = await ask(app, path)
    assert (answer.status, answer.body) == (418, f"{path} is taken, None".encode())


@pytest.mark.parametrize("bug", [KeyError("a bug"), ExceptionGroup("two", [ValueError(), KeyError()])])
async def test_a_bug_is_handled_once_and_loses_nothing(bug: Exception) -> None:
    found: list[BaseException] = []

    async def handler() -> str:
        raise bug

    async def on_bug(error: Exception) -> tuple[str, int]:
        found.append(error)
        return "ours", 500

    app = app_with(handler)
    app.register_error_handler(Exception, on_bug)
    short = await ask(app, "/short")
    app.is_plain = lambda: False  # type: ignore[method-assign]
    long = await ask(app, "/short")
    assert (short.status, short.body) == (long.status, long.body) == (500, b"ours")
    assert found == [found[0]] * 2  # of a group Quart takes the first
    assert not has_request_context()


async def test_a_cancelled_handler_leaves_no_context_behind() -> None:
    app = app_with(trio.sleep_forever)
    with trio.move_on_after(0) as scope:
        await ask(app, "/short")
    assert scope.cancelled_caught
    assert not has_request_context()
    assert not has_app_context()


async def test_an_app_with_hooks_goes_the_long_way() -> None:
    app = app_with(done)
    asked: list[str] = []

    @app.before_request
    async def before() -> None:
        asked.append(request.path)

    assert not app.is_plain()
    assert (await ask(app, "/short")).body == b"done"
    assert asked == ["/short"]


async def whole() -> WholeResponse:
    return WholeResponse(b"{}", [(b"content-type", b"application/json"), (b"x-one", b"1")])


async def test_a_whole_response_is_sent_with_the_fields_that_it_was_made_with() -> None:
    answer = await ask(app_with(whole), "/short")
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers == [(b"content-type", b"application/json"), (b"x-one", b"1")]


async def test_a_hook_may_read_and_change_the_headers_of_a_whole_response() -> None:
    app = app_with(whole)

    @app.after_request
    async def after(response: WholeResponse) -> WholeResponse:
        assert response.headers["X-One"] == "1"
        assert response.content_type == "application/json"
        response.headers["X-One"] = "2"
        response.headers.add("X-Two", "3")
        return response

    answer = await ask(app, "/short")
    fields = [(b"content-type", b"application/json"), (b"x-one", b"2"), (b"x-two", b"3")]
    assert answer.headers == fields


async def test_an_app_that_somebody_listens_to_goes_the_long_way() -> None:
    app = app_with(done)
    told: list[object] = []

    async def tell(sender: object, **_: object) -> None:
        told.append(sender)

    with signals.request_started.connected_to(tell):
        assert not app.is_plain()
        await ask(app, "/short")
    assert told == [app]
    assert app.is_plain()


async def test_a_request_leaves_no_garbage_that_needs_collecting() -> None:
    app = app_with(done)
    await ask(app, "/short")
    gc.collect()
    gc.disable()
    try:
        await ask(app, "/short")
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/none"), ("HEAD", "/none"), ("OPTIONS", "/none"), ("POST", "/short"), ("OPTIONS", "/short")],
)
async def test_what_has_no_route_is_answered_as_quart_answers_it(method: str, path: str) -> None:
    """404, 405 and OPTIONS come from the route table, without an exception and without Quart's contexts."""
    app = App("test", static_folder=None)  # its path has a variable
    app.add_url_rule("/short", "short", done)
    assert app.has_only_fixed_routes
    ours = await ask(app, path, method)
    app.is_plain = lambda: False  # type: ignore[method-assign]
    quarts = await ask(app, path, method)
    assert (ours.status, ours.body) == (quarts.status, quarts.body)
    assert _comparable(ours.headers) == _comparable(quarts.headers)


def _comparable(headers: list[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """By name. The order of the methods in Allow means nothing."""
    return {name.lower(): sorted(value.split(b", ")) for name, value in headers}


async def test_what_has_no_route_is_answered_without_raising(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of them must cost no more than as many cheap answers (G10)."""
    app = App("test", static_folder=None)  # its path has a variable
    app.add_url_rule("/short", "short", done)

    async def quarts_way(_: object) -> Any:
        raise AssertionError

    monkeypatch.setattr(app, "handle_user_exception", quarts_way)
    monkeypatch.setattr(app, "handle_request", quarts_way)
    statuses = [
        (await ask(app, *what)).status for what in (("/none",), ("/short", "POST"), ("/short", "OPTIONS"))
    ]
    assert statuses == [404, 405, 200]


@pytest.mark.parametrize("host", [b"a..b", b"." + 64 * b"a", b"xn--", b"", b"\xff", b"[", b"a:b:c"])
@pytest.mark.parametrize("is_plain", [True, False], ids=["from the table", "all of Quart's way"])
async def test_no_host_can_raise(host: bytes, is_plain: bool) -> None:
    """Not even where Quart builds its contexts, which is outside of its error handling (G11)."""
    app = app_with(done)
    app.is_plain = lambda: is_plain  # type: ignore[method-assign]
    statuses = [
        (await ask(app, *what, host=host)).status
        for what in (("/short",), ("/long/x",), ("/none",), ("/short", "POST"), ("/short", "OPTIONS"))
    ]
    assert statuses == [200, 404, 404, 405, 200]


async def test_only_cancelled_is_not_an_error_and_meets_no_handler() -> None:
    """A group of nothing but `Cancelled` goes on as it is: Quart would keep it alive in a cycle."""
    seen: list[object] = []

    async def handler() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
        raise AssertionError

    async def on_error(error: Exception) -> str:
        seen.append(error)
        return "handled"

    app = app_with(handler)
    app.register_error_handler(Exception, on_error)
    with trio.move_on_after(0) as scope:
        await ask(app, "/short")
    assert scope.cancelled_caught
    assert seen == []


async def test_a_bug_beside_cancelled_is_handled() -> None:
    """It never disappears in a cancelled group (G11)."""
    seen: list[object] = []
    bug = KeyError("a bug")

    async def handler() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise bug

    async def on_error(error: Exception) -> tuple[str, int]:
        seen.append(error)
        return "handled", 500

    app = app_with(handler)
    app.register_error_handler(Exception, on_error)
    with trio.move_on_after(0):
        await ask(app, "/short")
    assert seen == [bug]
