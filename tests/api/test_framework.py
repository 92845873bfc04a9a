"""The short way through Quart: what it relies on is there, and a handler sees no difference."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from inspect import getattr_static
from typing import Any

import pytest
import trio
import trio.testing
from quart import (
    Blueprint,
    abort,
    after_this_request,
    current_app,
    g,
    has_app_context,
    has_request_context,
    request,
    session,
    signals,
    url_for,
)
from quart.globals import request_ctx
from quart_trio.wrappers import TrioResponse
from werkzeug.datastructures import Headers
from werkzeug.exceptions import Conflict, HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

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


async def nothing_comes() -> Message:
    return await trio.sleep_forever()


async def ask(
    app: App, path: str, method: str = "GET", *, host: bytes = b"example.test:81", **changed: Any
) -> Answer:
    """What the app answers to the server. changed: of the scope."""
    answer = Answer()

    async def send(message: Message) -> None:
        answer.kinds.append(message["type"])
        answer.status = message.get("status", answer.status)
        answer.headers += message.get("headers", [])
        answer.body += message.get("body", b"")

    await app(scope_of(path, method, host=host) | changed, nothing_comes, send)
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
    seen: list[tuple[Any, ...]] = []
    inner = app.asgi_app

    async def around(*asgi: Any) -> None:
        seen.append(asgi)
        await inner(*asgi)

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    monkeypatch.setattr(app, "asgi_app", around)
    scope = scope_of("/short")
    await app(scope, nothing_comes, send)
    assert seen == [(scope, nothing_comes, send)]
    assert [message["body"] for message in sent] == [b"done"]


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_is_quarts(kind: str) -> None:
    app = app_with(done)
    asked: list[tuple[Any, ...]] = []

    def made(app: App, scope: Scope) -> Callable[..., Awaitable[None]]:
        async def take(receive: Receive, send: Send) -> None:
            asked.append((scope, receive, send))

        return take

    setattr(app, f"asgi_{kind}_class", made)

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await app({"type": kind}, nothing_comes, send)
    assert asked == [({"type": kind}, nothing_comes, send)]


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


async def test_a_handler_sees_what_it_would_see_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(app, "is_plain", lambda: False)
    await ask(app, "/short")
    short, long = seen
    assert [name for name in long if repr(short[name]) != repr(long[name])] == [
        "scope"
    ]  # a client of its own
    assert short["scope"] | {CLIENT_KEY: None} == long["scope"] | {CLIENT_KEY: None}


async def test_a_request_is_what_the_server_has_read() -> None:
    seen: list[Any] = []

    async def look() -> str:
        seen.append((request.method, request.scheme, request.http_version, request.path))
        seen.append((request.root_path, request.query_string, request.url))
        return "done"

    await ask(app_with(look), "/short", http_version="2", scheme="https")
    assert seen == [
        ("GET", "https", "2", "/short"),
        ("", b"timeout=7&b=%C3%A4", "https://example.test:81/short?timeout=7&b=\xe4"),
    ]


async def test_a_handler_may_ask_the_matcher_about_another_path() -> None:
    async def handler(number: int = 0) -> str:
        matcher = request_ctx.url_adapter
        assert matcher is not None
        paths = ("/short", "/long/5", "/none", "/long/x")
        return "".join(path for path in paths if matcher.test(path, "GET"))

    assert (await ask(app_with(handler), "/long/1")).body == b"/short/long/5"


@pytest.mark.parametrize("path", ["/short", "/long/1"])
async def test_a_handler_finds_the_path_of_another(path: str) -> None:
    async def handler(number: int = 0) -> str:
        return f"{url_for('short')} {url_for('long', number=5)}"

    assert (await ask(app_with(handler), path)).body == b"/short /long/5"


async def test_a_push_that_a_handler_asks_for_is_left_out() -> None:
    """RFC 9113 lets a server ignore it; HTTP/1.1 has none."""

    async def handler() -> str:
        await request.send_push_promise("/style.css")
        return "done"

    answer = await ask(app_with(handler), "/short")
    assert (answer.kinds, answer.body) == ([ANSWER], b"done")


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
async def test_a_bug_is_handled_once_and_loses_nothing(
    bug: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[BaseException] = []

    async def handler() -> str:
        raise bug

    async def on_bug(error: Exception) -> tuple[str, int]:
        found.append(error)
        return "ours", 500

    app = app_with(handler)
    app.register_error_handler(Exception, on_bug)
    short = await ask(app, "/short")
    monkeypatch.setattr(app, "is_plain", lambda: False)
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


async def test_an_app_without_hooks_goes_no_step_of_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_with(done)

    async def quarts_way(*_: object) -> Any:
        raise AssertionError

    monkeypatch.setattr(app, "preprocess_request", quarts_way)
    monkeypatch.setattr(app, "dispatch_request", quarts_way)
    answer = await ask(app, "/short")
    assert (answer.status, answer.body) == (200, b"done")


async def test_a_request_may_be_dispatched_without_saying_its_context() -> None:
    """Quart lets it be left out, as Flask does: it is that of the current task."""
    app = app_with(done)
    async with app.request_context(app.make_request(scope_of("/short"))):
        response = await app.full_dispatch_request()
    assert isinstance(response, TrioResponse)
    assert await response.get_data() == b"done"


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

    async def report(sender: object, **_: object) -> None:
        told.append(sender)

    with signals.request_started.connected_to(report):
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
async def test_what_has_no_route_is_answered_as_quart_answers_it(
    method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """404, 405 and OPTIONS come from the route table, without an exception and without Quart's contexts."""
    app = App("test", static_folder=None)  # its path has a variable
    app.add_url_rule("/short", "short", done)
    assert app.has_only_fixed_routes
    ours = await ask(app, path, method)
    monkeypatch.setattr(app, "is_plain", lambda: False)
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
async def test_no_host_can_raise(host: bytes, is_plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where Quart builds its contexts, which is outside of its error handling (G11)."""
    app = app_with(done)
    monkeypatch.setattr(app, "is_plain", lambda: is_plain)
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


@pytest.mark.parametrize("is_last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("is_plain", [True, False])
async def test_a_bug_beside_cancelled_is_handled(
    is_plain: bool, is_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never disappears in a cancelled group (G11). Its place in the group does not matter."""
    seen: list[object] = []
    bug = KeyError("a bug")

    async def handler() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(break_when_cancelled)
            await trio.sleep_forever()
        raise AssertionError

    async def break_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if is_last:
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked()
            raise bug

    async def on_error(error: Exception) -> tuple[str, int]:
        seen.append(error)
        return "handled", 500

    app = app_with(handler)
    monkeypatch.setattr(app, "is_plain", lambda: is_plain)
    app.register_error_handler(Exception, on_error)
    with trio.move_on_after(0):
        await ask(app, "/short")
    assert seen == [bug]


@pytest.mark.parametrize("is_plain", [True, False])
async def test_a_bug_beside_cancelled_without_a_handler_is_reported_alone(
    is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quart's signal does not contain `Cancelled`, which is no error and would be kept alive."""
    reported: list[BaseException] = []
    bug = KeyError("a bug")

    async def handler() -> str:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise bug

    async def report(sender: object, exception: BaseException, **_: object) -> None:
        reported.append(exception)

    app = app_with(handler)
    monkeypatch.setattr(app, "is_plain", lambda: is_plain)
    with signals.got_request_exception.connected_to(report), trio.move_on_after(0):
        await ask(app, "/short")
    (group,) = reported
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (bug,)


def with_blueprint(look: Handler) -> App:
    app = App("test", static_folder=None)
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    inner.add_url_rule("/in", "in", look)
    outer.add_url_rule("/out", "out", look)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    app.add_url_rule("/none", "none", look)
    return app


@pytest.mark.parametrize("is_plain", [True, False])
async def test_a_request_knows_the_blueprints_around_its_handler(
    is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, ...]] = []

    async def look() -> str:
        seen.append((request.endpoint, request.blueprint, request.blueprints))
        return "done"

    app = with_blueprint(look)
    monkeypatch.setattr(app, "is_plain", lambda: is_plain)
    for path in ("/in", "/out", "/none"):
        assert (await ask(app, path)).status == 200
    assert seen == [
        ("outer.inner.in", "outer.inner", ["outer.inner", "outer"]),
        ("outer.out", "outer", ["outer"]),
        ("none", None, []),
    ]


@pytest.mark.parametrize("is_plain", [True, False])
async def test_an_exception_without_a_handler_is_a_500_and_quarts_to_tell(
    is_plain: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bug, reported = KeyError("a bug"), list[object]()

    async def handler() -> str:
        raise bug

    async def report(sender: object, exception: Exception, **_: object) -> None:
        reported.append(exception)

    app = app_with(handler)
    monkeypatch.setattr(app, "is_plain", lambda: is_plain)
    with signals.got_request_exception.connected_to(report):
        answer = await ask(app, "/short")
    assert (answer.status, reported) == (500, [bug])
    assert answer.kinds == [ANSWER]
    assert dict(answer.headers)[b"content-type"].startswith(b"text/html")


async def test_hooks_run_before_and_after_a_request_and_when_its_contexts_end() -> None:
    app = app_with(done)
    ran: list[str] = []

    def note(name: str) -> Any:
        async def hook(*args: Any) -> Any:
            ran.append(name)
            return args[0] if name == "after" else None

        return hook

    app.before_request(note("before"))
    app.after_request(note("after"))
    app.teardown_request(note("teardown request"))
    app.teardown_appcontext(note("teardown app"))
    assert (await ask(app, "/short")).body == b"done"
    assert ran == ["before", "after", "teardown request", "teardown app"]


@pytest.mark.parametrize(
    "add",
    ["before_request", "after_request", "teardown_request", "url_value_preprocessor", "teardown_appcontext"],
)
def test_a_hook_of_any_kind_makes_an_app_take_quarts_way(add: str) -> None:
    app = app_with(done)
    assert app.is_plain()
    app = app_with(done)

    async def hook(*_: Any) -> None:
        pass

    getattr(app, add)(hook)
    assert not app.is_plain()


@pytest.mark.parametrize(
    "signal", ["request_started", "request_finished", "request_tearing_down", "appcontext_tearing_down"]
)
def test_a_receiver_of_any_signal_makes_an_app_take_quarts_way(signal: str) -> None:
    app = app_with(done)

    async def receive(*_: object, **__: object) -> None:
        pass

    with getattr(signals, signal).connected_to(receive):
        assert not app.is_plain()
    assert app.is_plain()


async def test_the_parts_of_a_stream_say_whether_there_are_more() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def handler() -> Any:
        return parts(), 201, {"x-one": "1"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app_with(handler)(scope_of("/short"), nothing_comes, send)
    start, *bodies = sent
    assert (start["type"], start["status"]) == ("http.response.start", 201)
    assert (b"x-one", b"1") in [(name.lower(), value) for name, value in start["headers"]]
    assert bodies == [
        {"type": "http.response.body", "body": b"one ", "more_body": True},
        {"type": "http.response.body", "body": b"two", "more_body": True},
        {"type": "http.response.body", "body": b""},
    ]


async def test_a_part_of_a_body_is_answered_as_that_part() -> None:
    """Quart cuts a body for a range request, and keeps the rest of it."""

    async def handler() -> TrioResponse:
        response = TrioResponse(b"0123456789")
        assert isinstance(response.response, TrioResponse.data_body_class)
        response.response.begin, response.response.end = 2, 5
        return response

    assert (await ask(app_with(handler), "/short")).body == b"234"


@pytest.mark.parametrize(("client", "address"), [(("192.0.2.1", 5), "192.0.2.1"), (None, "<local>")])
async def test_the_address_of_the_client_is_in_the_request_and_in_its_headers(
    client: Any, address: str
) -> None:
    """Header names are written as Quart writes them."""
    seen: list[Any] = []

    async def handler() -> str:
        seen.append((request.remote_addr, list(request.headers)))
        request.remote_addr = "ignored"
        assert request.remote_addr == address
        return "done"

    async def send(message: Message) -> None:
        pass

    await app_with(handler)(scope_of("/short") | {"client": client}, nothing_comes, send)
    assert seen == [
        (
            address,
            [("Remote-Addr", address), ("Host", "example.test:81"), ("Cookie", "a=b"), ("X-One", "1")],
        )
    ]


def test_a_whole_response_has_the_headers_it_was_given_until_they_are_changed() -> None:
    fields = [(b"content-type", b"application/json"), (b"x-one", b"1")]
    response = WholeResponse(b"{}", list(fields))
    assert response.encoded_headers() == fields
    assert list(response.headers) == [("Content-Type", "application/json"), ("X-One", "1")]
    response.headers["X-One"] = "2"
    assert [(n.lower(), v) for n, v in response.encoded_headers()] == [fields[0], (b"x-one", b"2")]
    other = WholeResponse(b"{}", list(fields))
    other.headers = Headers([("X-Two", "3")])
    assert [(n.lower(), v) for n, v in other.encoded_headers()] == [(b"x-two", b"3")]
    assert (other.status_code, other.status) == (200, "200 OK")


async def redirect() -> str:
    return "done"


def test_only_fixed_paths_of_coroutines_are_in_the_table() -> None:
    def plain() -> str:
        return "done"

    app = App("test", static_folder=None)
    app.add_url_rule("/", "root", done, methods=["GET", "POST"])
    app.add_url_rule("/leaf", "leaf", done)
    app.add_url_rule("/leaf", "second", redirect)
    assert set(app.routes) == {
        ("GET", "/"),
        ("HEAD", "/"),
        ("POST", "/"),
        ("GET", "/leaf"),
        ("HEAD", "/leaf"),
    }
    assert app.routes["GET", "/leaf"].view is done, "the first of two, as the matcher has it"
    assert app.has_only_fixed_routes
    for path, view in (("/branch/", done), ("/<name>", done), ("/plain", plain)):
        other = App("test", static_folder=None)
        other.add_url_rule("/leaf", "leaf", done)
        other.add_url_rule(path, "other", view)
        assert set(other.routes) == {("GET", "/leaf"), ("HEAD", "/leaf")}
        assert not other.has_only_fixed_routes


async def test_an_app_with_other_routes_asks_the_matcher_for_what_is_not_in_the_table() -> None:
    app = App("test", static_folder=None)
    app.add_url_rule("/branch/", "branch", done)
    assert (await ask(app, "/branch/")).body == b"done"
    assert (await ask(app, "/none")).status == 404
    assert (await ask(app, "/branch/", "POST")).status == 405


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_redirect_keeps_the_query_and_leaves_the_host_to_the_client(scheme: str) -> None:
    app = App("test", static_folder=None)
    app.add_url_rule("/branch/", "branch", done)
    answer = await ask(app, "/branch", scheme=scheme)
    assert answer.status == 308
    assert dict(answer.headers)[b"location"] == b"/branch/?timeout=7&b=%C3%A4"
    assert b'href="/branch/?timeout=7' in answer.body
    assert (await ask(app, "/branch", query_string=b"\xff")).status == 308, (
        "any bytes, before errors are handled"
    )


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//evil.test", b"/evil.test/"),
        ("///evil.test", b"/evil.test/"),
        ("/\\evil.test", b"/%5Cevil.test/"),
        ("/http://evil.test", b"/http://evil.test/"),
    ],
)
async def test_no_path_redirects_to_another_host(path: str, location: bytes) -> None:
    """Browsers take two slashes, or a slash and a backslash, for the beginning of a host."""
    app = App("test", static_folder=None)
    app.add_url_rule("/<path:name>/", "branch", done)
    answer = await ask(app, path, query_string=b"")
    assert (answer.status, dict(answer.headers)[b"location"]) == (308, location)


async def test_what_is_allowed_is_said_in_alphabetical_order() -> None:
    app = App("test", static_folder=None)
    app.add_url_rule("/short", "get", done, methods=["GET"])
    app.add_url_rule("/short", "put", done, methods=["PUT", "DELETE"])
    options = await ask(app, "/short", "OPTIONS")
    assert (options.status, options.body) == (200, b"")
    assert dict(options.headers)[b"allow"] == b"DELETE, GET, HEAD, OPTIONS, PUT"
    refused = await ask(app, "/short", "PATCH")
    assert {part.strip() for part in dict(refused.headers)[b"allow"].split(b",")} == {
        *(b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PUT"),
    }


async def test_a_response_that_is_raised_is_answered_whole() -> None:
    """An HTTP error of werkzeug's may bring its response, whose body may have several parts."""

    async def handler() -> str:
        raise HTTPException(response=WerkzeugResponse([b"one ", b"two"], status=418))

    answer = await ask(app_with(handler), "/short")
    assert (answer.status, answer.kinds, answer.body) == (418, [ANSWER], b"one two")


async def test_the_session_of_a_request_is_none_that_could_be_used() -> None:
    async def handler() -> str:
        assert not session.accessed
        with pytest.raises(RuntimeError):
            session["a"] = 1
        return "done"

    assert (await ask(app_with(handler), "/short")).body == b"done"


async def test_the_body_of_a_request_is_there_and_empty() -> None:
    async def handler() -> str:
        assert request.content_length is None
        assert await request.get_data() == b""
        assert await request.form == {}
        return "done"

    with trio.fail_after(5):
        assert (await ask(app_with(handler), "/short")).body == b"done"
