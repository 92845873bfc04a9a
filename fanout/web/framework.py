"""Quart, without the work that no request to this app needs.

A request here has no body (`Exchanges` refuses one), there is no session, and the answer is in one piece.
Nearly every request asks for one of a few fixed paths, and those have a short way: the handler is looked up
in a table, runs in Quart's contexts, and its response is sent. What a handler raises, any other path, and an
app with hooks or signals go all of Quart's way. Handlers, `request`, `g`, `current_app`, error handlers and
hooks work as they always do. `tests/web/test_framework.py` holds what is relied on of Quart.

The matcher is left out for another reason too: it leaves a cycle of objects behind, for the garbage
collector to find, with every request.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping
from functools import cached_property
from inspect import iscoroutinefunction
from typing import Any, Final

import trio
from quart import signals
from quart.ctx import AppContext, RequestContext
from quart.globals import _cv_app, _cv_request
from quart.sessions import NullSession
from quart.typing import ResponseReturnValue, ResponseTypes
from quart.utils import encode_headers
from quart.wrappers import Request
from quart.wrappers.response import DataBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest, TrioResponse
from quart_trio.wrappers.request import TrioBody
from werkzeug.datastructures import Headers
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map, MapAdapter, Rule

from fanout.web.asgi import ANSWER, CALLER_KEY, Receive, Scope, Send

_SIGNALS: Final = (
    signals.request_started,
    signals.request_finished,
    signals.request_tearing_down,
    signals.appcontext_pushed,
    signals.appcontext_popped,
)


def request_scope() -> Scope:
    """The ASGI scope of the current request: `quart.request.scope`, without the four calls of its proxy."""
    return _cv_request.get().request_websocket.scope


class NoBody(TrioBody):
    """The body of a request without one: complete from the start, and empty. It waits for nothing."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        pass

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    def __await__(self) -> Generator[Any, None, bytes]:
        yield from ()
        return b""

    def clear(self) -> None:
        pass


class BodylessRequest(TrioRequest):
    content_length = None
    body_class = NoBody


class ReadyResponse(TrioResponse):
    """A 200 with its body: what Quart makes of them, without looking for what else they could be."""

    def __init__(self, body: bytes, *headers: tuple[str, str]) -> None:
        self._status, self._status_code = "200 OK", 200
        self.headers = Headers()
        self.headers._list = [("Content-Length", str(len(body))), *headers]
        self.timeout = Ellipsis
        self.response = DataBody(body)


class FixedRoute(MapAdapter):
    """One method and one path: what the matcher would find for them, and their handler."""

    def __init__(self, url_map: Map, rule: Rule, method: str, view: Callable[[], Any]) -> None:
        super().__init__(url_map, "", "/", "", "http", rule.rule, method)
        self.rule = rule
        self.method = method
        self.view = view

    def match(self, *args: Any, **kwargs: Any) -> Any:
        return self.rule, {}


class NoRoute(MapAdapter):
    """For a path that no rule can match."""

    def match(self, *args: Any, **kwargs: Any) -> Any:
        raise NotFound


class RoutedRequest(BodylessRequest):
    """Quart's request for a fixed route. What a race does not ask for is made when it is asked for.

    raised: what the handler has raised, which Quart is to deal with.
    """

    raised: BaseException | None = None

    def __init__(self, route: FixedRoute, scope: Scope, make_whole: Callable[[], Request]) -> None:
        self.url_rule = route.rule  # type: ignore[assignment]
        self.view_args: dict[str, Any] = {}
        self.method = route.method
        self.path = route.rule.rule
        self.query_string: bytes = scope["query_string"]
        self.scope = scope
        self._make_whole: Callable[[], Request] | None = make_whole

    def __getattr__(self, name: str) -> Any:
        make_whole = self.__dict__.pop("_make_whole", None)
        if make_whole is None:
            raise AttributeError(name)
        self.__dict__ = {**vars(make_whole()), **self.__dict__}
        return getattr(self, name)


class RoutedContext(RequestContext):
    """Quart's context of a request for a fixed route, as it is once it was pushed."""

    def __init__(self, app: App, request: RoutedRequest, route: FixedRoute) -> None:
        self.app = app
        self.request_websocket = request
        request.json_module = app.json
        self.url_adapter = route
        self.session = NullSession()
        self.preserved = False
        self.flashes = None
        self._after_request_functions = []
        self._cv_tokens = []


class RequestTask(TrioASGIHTTPConnection):
    """One request, in the connection's own task, which is cancelled when the caller leaves (G6).

    Where the server does not do that (HTTP/2), a second task waits for it beside the handler.

    Rule 1: it has ended before the answer begins, so that nothing of the request is left then (G3). A caller
            who leaves later is noticed by the write.
    """

    app: App

    async def __call__(self, receive: Receive, send: Send) -> None:
        response: ResponseTypes | None = None
        if CALLER_KEY in self.scope:
            response = await self._respond(send)
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when_caller_leaves, nursery.cancel_scope, receive)
                response = await self._respond(send)
                nursery.cancel_scope.cancel(reason="the answer is there")
        if response is not None:
            await self._send_response(send, response)

    async def _respond(self, send: Send) -> ResponseTypes:
        route = self.app.short_way(self.scope["method"], self.scope["path"])
        if route is None:
            return await self.app.handle_request(self._create_request_from_scope(send))
        request = RoutedRequest(route, self.scope, lambda: self._create_request_from_scope(send))
        return await self.app.handle_routed(route, request)

    async def _send_response(self, send: Send, response: ResponseTypes) -> None:
        """A body that is there as a whole in one message to our driver, else in two; Quart takes three."""
        body = response.response
        if type(body) is not DataBody:
            await super()._send_response(send, response)
            return
        headers, data = encode_headers(response.headers), body.data[body.begin : body.end]
        if CALLER_KEY in self.scope:
            await send({"type": ANSWER, "status": response.status_code, "headers": headers, "body": data})
            return
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": data})


async def _cancel_when_caller_leaves(scope: trio.CancelScope, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel(reason="the caller has left")


class App(QuartTrio):
    asgi_http_class = RequestTask
    request_class = BodylessRequest

    # Plain functions: in Quart each is a coroutine, and every step of a request would pass through both.

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        return self.asgi_app(scope, receive, send)

    def asgi_app(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        if scope["type"] == "http":
            return self.asgi_http_class(self, scope)(receive, send)
        return super().asgi_app(scope, receive, send)

    def short_way(self, method: str, path: str) -> FixedRoute | None:
        """The route of a request that needs no more of Quart than its contexts; `None`: it may need more."""
        if self._has_hooks:
            return None
        for signal in _SIGNALS:
            if signal.receivers:
                return None
        return self._fixed_routes.get((method, path))

    async def handle_routed(self, route: FixedRoute, request: RoutedRequest) -> ResponseTypes:
        """What `handle_request` does, the short way."""
        context = RoutedContext(self, request, route)
        of_app, of_request = _cv_app.set(AppContext(self)), _cv_request.set(context)
        try:
            response = await route.view()
            if not isinstance(response, TrioResponse):
                response = await self.make_response(response)
            if context._after_request_functions:
                response = await self.process_response(response, context)
        except (Exception, BaseExceptionGroup) as raised:  # noqa: BLE001 - Quart's to deal with
            request.raised = raised
        else:
            return response  # type: ignore[no-any-return]
        finally:
            _cv_request.reset(of_request)
            _cv_app.reset(of_app)
        return await self.handle_request(request)

    async def dispatch_request(self, request_context: RequestContext | None = None) -> ResponseReturnValue:
        request = None if request_context is None else request_context.request
        if isinstance(request, RoutedRequest) and request.raised is not None:
            raised, request.raised = request.raised, None
            try:
                raise raised
            finally:
                del raised  # its traceback has this frame: no cycle for the garbage collector
        return await super().dispatch_request(request_context)

    @cached_property
    def _fixed_routes(self) -> Mapping[tuple[str, str], FixedRoute]:
        routes: dict[tuple[str, str], FixedRoute] = {}
        for rule in self.url_map.iter_rules():
            view = self.view_functions[rule.endpoint]
            if rule.arguments or not iscoroutinefunction(view):
                continue
            for method in (rule.methods or set()) - {"OPTIONS"}:  # its answer asks the matcher for the others
                routes.setdefault((method, rule.rule), FixedRoute(self.url_map, rule, method, view))
        return routes

    @cached_property
    def _own_url_adapter(self) -> MapAdapter | None:
        return super().create_url_adapter(None)

    @cached_property
    def _has_hooks(self) -> bool:
        """Known once requests come: Quart takes no hook after the first."""
        hooks = (
            self.before_request_funcs,
            self.after_request_funcs,
            self.teardown_request_funcs,
            self.url_value_preprocessors,
        )
        return any(any(by_name.values()) for by_name in hooks) or bool(self.teardown_appcontext_funcs)

    def create_url_adapter(self, request: Any) -> MapAdapter | None:
        if request is None:  # for the context of the app, which every request has
            return self._own_url_adapter
        if request.scope["path"].startswith("//"):  # werkzeug takes these slashes for one
            return NoRoute(self.url_map, "", "/", "", "http", request.path, request.method)
        return self._fixed_routes.get((request.method, request.path)) or super().create_url_adapter(request)

    def request_context(self, request: Any) -> RequestContext:
        return RequestContext(self, request, NullSession())
