"""Quart, without the work that no request to this app needs.

A request here has no body (`Exchanges` rejects one), there is no session, and the answer is in one piece.
The paths are fixed, so there is a table of them. The handler of a route runs in Quart's contexts, and its
exceptions go to Quart's error handlers. A path or a method without a route is answered from the table, and
nothing raises. A path with a variable, and an app with hooks or with receivers of signals, take Quart's full
path. Handlers, `request`, `g`, `current_app`, error handlers and hooks work as they always do.
`tests/api/test_framework.py` holds the behaviour of Quart that this module relies on.

Rule 1: no frame that an exception passes keeps it in a variable, so that it dies with its request. Such a
        cycle would need the garbage collector (`tests/garbage`).
Rule 2: `Cancelled` never reaches an error handler. An exception raised next to it always does (G11).
Rule 3: no part of a request is read before its errors are handled. The host is never read: no route has one.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from functools import cached_property
from inspect import iscoroutinefunction
from typing import Any, Final

import trio
from quart import signals
from quart.ctx import AppContext, RequestContext
from quart.globals import _cv_app, _cv_request
from quart.sessions import NullSession
from quart.typing import ResponseTypes
from quart.utils import encode_headers
from quart.wrappers import Request
from quart.wrappers.response import DataBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest, TrioResponse
from quart_trio.wrappers.request import TrioBody
from werkzeug.datastructures import Headers
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, MapAdapter, Rule

from fanout.server.asgi import ANSWER, CALLER_KEY, Receive, Scope, Send

_SIGNALS: Final = (
    signals.request_started,
    signals.request_finished,
    signals.request_tearing_down,
    signals.appcontext_pushed,
    signals.appcontext_popped,
)


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


class RoutedRequest(BodylessRequest):
    """Quart's request for a fixed route. The parts that a race does not need are made on demand."""

    def __init__(self, route: FixedRoute, scope: Scope, make_whole: Callable[[], Request]) -> None:
        self.route = route
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
        app, scope = self.app, self.scope
        if app.is_plain():
            route = app.routes.get((scope["method"], scope["path"]))
            if route is not None:
                request = RoutedRequest(route, scope, lambda: self._create_request_from_scope(send))
                return await app.handle_routed(route, request)
            if app.has_only_fixed_routes:
                return app.answer_without_route(scope)  # noqa: ASYNC910 - to send it is a checkpoint
        return await app.handle_request(self._create_request_from_scope(send))

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

    def is_plain(self) -> bool:
        """Whether a request needs only Quart's contexts."""
        if self._has_hooks:
            return False
        for signal in _SIGNALS:  # noqa: SIM110 - a generator takes three times as long
            if signal.receivers:
                return False
        return True

    def answer_without_route(self, scope: Scope) -> TrioResponse:
        """The answer to a request without a route: to OPTIONS, or a 405 or 404."""
        path: str = scope["path"]
        allowed = self._methods.get(path)
        if allowed is None:
            return self.answer_not_found(scope)
        if scope["method"] == "OPTIONS":
            return TrioResponse("", headers={"Allow": ", ".join(allowed)})
        return self.answer_not_allowed(scope, allowed)

    def answer_not_found(self, scope: Scope) -> TrioResponse:
        """May be overridden. Quart's contexts do not exist here."""
        return _response_to(NotFound())

    def answer_not_allowed(self, scope: Scope, allowed: Sequence[str]) -> TrioResponse:
        """May be overridden, as the one above. allowed: the methods of the path."""
        return _response_to(MethodNotAllowed(list(allowed)))

    async def handle_routed(self, route: FixedRoute, request: RoutedRequest) -> ResponseTypes:
        """As `handle_request`, without its matcher, its signals and its hooks."""
        context = RequestContext(self, request, NullSession())
        of_app, of_request = _cv_app.set(AppContext(self)), _cv_request.set(context)
        try:
            try:
                result = await route.view()
                if isinstance(result, TrioResponse) and not context._after_request_functions:
                    return result  # as `_finish`, without its coroutine
                return await self._finish(result, context)
            except (Exception, BaseExceptionGroup) as raised:
                if _is_cancelled(raised):
                    raise
                return await self._answer_to(raised, context)
        finally:
            _cv_request.reset(of_request)
            _cv_app.reset(of_app)

    async def _finish(self, result: Any, context: RequestContext) -> ResponseTypes:
        response = result if isinstance(result, TrioResponse) else await self.make_response(result)
        if context._after_request_functions:
            response = await self.process_response(response, context)
        return response  # noqa: ASYNC910 - the handler has passed a checkpoint

    async def _answer_to(self, raised: Exception | BaseExceptionGroup[Any], context: Any) -> ResponseTypes:
        try:
            return await self._finish(await self.handle_user_exception(_without_cancelled(raised)), context)
        except Exception as unhandled:  # noqa: BLE001 - as Quart does
            return await self.handle_exception(unhandled)
        finally:
            del raised  # Rule 1

    @cached_property
    def routes(self) -> Mapping[tuple[str, str], FixedRoute]:
        """By method and path. Complete once requests come: Quart takes no route after the first."""
        routes: dict[tuple[str, str], FixedRoute] = {}
        for rule in self.url_map.iter_rules():
            if self._is_fixed(rule):
                view = self.view_functions[rule.endpoint]
                for method in (rule.methods or set()) - {"OPTIONS"}:
                    routes.setdefault((method, rule.rule), FixedRoute(self.url_map, rule, method, view))
        return routes

    @cached_property
    def has_only_fixed_routes(self) -> bool:
        return all(self._is_fixed(rule) for rule in self.url_map.iter_rules())

    def _is_fixed(self, rule: Rule) -> bool:
        is_leaf = rule.rule == "/" or not rule.rule.endswith("/")  # else there is a redirect to it as well
        return is_leaf and not rule.arguments and iscoroutinefunction(self.view_functions[rule.endpoint])

    @cached_property
    def _methods(self) -> Mapping[str, Sequence[str]]:
        """The methods of each path, in alphabetical order."""
        methods: dict[str, set[str]] = {}
        for rule in self.url_map.iter_rules():
            methods.setdefault(rule.rule, set()).update(rule.methods or ())
        return {path: sorted(names) for path, names in methods.items()}

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
        """Quart's own method reads the host, and raises if it is not a host name."""
        if request is None:  # for the context of the app, which every request has
            return self._own_url_adapter
        if isinstance(request, RoutedRequest):
            return request.route
        return self.url_map.bind("", "/", "", request.scheme, request.method, request.path)

    def request_context(self, request: Any) -> RequestContext:
        return RequestContext(self, request, NullSession())


def _response_to(error: MethodNotAllowed | NotFound) -> TrioResponse:
    return TrioResponse(error.get_body(), status=error.code, headers=Headers(error.get_headers()))


def _is_cancelled(raised: BaseException) -> bool:
    """Whether the exception is only a cancellation."""
    return isinstance(raised, BaseExceptionGroup) and raised.split(trio.Cancelled)[1] is None


def _without_cancelled(raised: Exception | BaseExceptionGroup[Any]) -> Any:
    """The part that error handlers may see: an exception, or a group without `Cancelled`."""
    return raised.split(trio.Cancelled)[1] if isinstance(raised, BaseExceptionGroup) else raised
