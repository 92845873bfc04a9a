"""Quart, without the work that no request to this app needs.

A request here has no body (`Exchanges` rejects one), there is no session, and the answer is in one piece.
The paths are fixed, so there is a table of them. The handler of a route runs in Quart's contexts, and its
exceptions go to Quart's error handlers. A path or a method without a route is answered from the table, and
nothing raises. An app with hooks or with receivers of signals takes all of Quart's path. Handlers, `request`,
`g`, `current_app`, error handlers and hooks work as they always do.

Everything here is an override that Quart documents: the classes of requests and connections, the URL adapter,
and the steps of a request that are public methods of the app.

Rule 1: no frame that an exception passes keeps it in a variable, so that it dies with its request. Such a
        cycle would need the garbage collector (`tests/garbage`).
Rule 2: `Cancelled` never reaches an error handler. An exception raised next to it always does (G11).
Rule 3: no part of a request is read before its errors are handled. The host is never read: no route has one.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cached_property, lru_cache
from inspect import iscoroutinefunction
from typing import Any, Final
from urllib.parse import urlsplit

import trio
from quart import signals
from quart.sessions import NullSession
from quart.typing import ResponseTypes
from quart.utils import encode_headers
from quart.wrappers import Request
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest, TrioResponse
from quart_trio.wrappers.request import TrioBody
from werkzeug.datastructures import Headers
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import Map, MapAdapter, RequestRedirect, Rule
from werkzeug.wrappers import Response as WerkzeugResponse

from fanout.server.asgi import ANSWER, Receive, Scope, Send

SERVER: Final = "*"  # the path of OPTIONS for the server itself, RFC 9110 9.3.7
_STARTED, _FINISHED = signals.request_started, signals.request_finished
_REQUEST_ENDS, _APP_CONTEXT_ENDS = signals.request_tearing_down, signals.appcontext_tearing_down


def _no_body(expected_content_length: int | None, max_content_length: int | None) -> TrioBody:
    """The body of every request: complete from the start, and empty."""
    return _NO_BODY


_NO_BODY: Final = TrioBody(0, None)
_NO_BODY.set_complete()
_NO_SESSION: Final = NullSession()
# In place of headers that are made when they are asked for. Constructors look for these two names in it: to
# find them is cheaper than the exception with which werkzeug does not.
_ON_DEMAND: Final = Headers([("Content-Type", ""), ("Remote-Addr", "")])


@lru_cache
def _blueprints_of(endpoint: str | None) -> tuple[str, ...]:
    """The names of the blueprint of an endpoint and of those around it, from the inside out."""
    blueprint = (endpoint or "").rpartition(".")[0]
    return (blueprint, *_blueprints_of(blueprint)) if blueprint else ()


class BodylessRequest(TrioRequest):
    """A request without a body. What a race does not need is made when a handler asks for it."""

    content_length = None
    body_class = staticmethod(_no_body)  # type: ignore[assignment] # Quart only calls it
    _headers: Headers

    @property
    def headers(self) -> Headers:
        if self._headers is _ON_DEMAND:
            self._headers = Headers([("Remote-Addr", self.remote_addr)])
            for name, value in self.scope["headers"]:
                self._headers.add(name.decode("latin-1").title(), value.decode("latin-1"))
        return self._headers

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._headers = headers

    @property
    def remote_addr(self) -> str:
        client = self.scope["client"]
        return "<local>" if client is None else client[0]

    @remote_addr.setter
    def remote_addr(self, _: str | None) -> None:
        """Ignored: Quart takes it from the headers, which take it from here."""

    @property
    def blueprints(self) -> list[str]:
        return [*_blueprints_of(self.endpoint)]

    async def close(self) -> None:  # noqa: ASYNC910 - without a body there are no files to close
        pass


class WholeResponse(TrioResponse):
    """A response with status 200 whose header fields are given as they are sent. Quart's are made when a hook
    asks for them."""

    _fields: list[tuple[bytes, bytes]] | None
    _headers: Headers

    def __init__(self, body: bytes, fields: list[tuple[bytes, bytes]]) -> None:
        """fields: names in lower case. The list is the response's from now on."""
        super().__init__(self.data_body_class(body), headers=_ON_DEMAND)
        self._fields = fields

    @property
    def headers(self) -> Headers:
        fields, self._fields = self._fields, None
        if fields is not None:
            self._headers = Headers([(name.decode().title(), value.decode()) for name, value in fields])
        return self._headers

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._headers, self._fields = headers, None

    def encoded_headers(self) -> list[tuple[bytes, bytes]]:
        return encode_headers(self._headers) if self._fields is None else self._fields


class Matcher(MapAdapter):
    """Finds a route that has variables. It knows no host (Rule 3), so a redirect names the path alone."""

    def match(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().match(*args, **kwargs)
        except RequestRedirect as redirect:
            redirect.new_url = urlsplit(redirect.new_url)._replace(scheme="").geturl()
            raise


class FixedRoute(MapAdapter):
    """One method and one path: what the matcher would find for them, and their handler."""

    def __init__(self, url_map: Map, rule: Rule, method: str, view: Callable[[], Any]) -> None:
        super().__init__(url_map, "", "/", "", "http", rule.rule, method)
        self.rule = rule
        self.view = view

    def match(self, *args: Any, **kwargs: Any) -> Any:
        return self.rule, {}


class RequestTask(TrioASGIHTTPConnection):
    """One request, in the task in which the server calls the app, and which it cancels when the client
    disconnects (G6).

    Rule 1: nothing of the request is left when the answer begins (G3). A later disconnect is noticed by the
            write.
    """

    app: App

    async def __call__(self, receive: Receive, send: Send) -> None:
        await self.send_response(await self.app.respond(self.scope), send)

    async def send_response(self, response: ResponseTypes, send: Send) -> None:
        """A body that is there as a whole in one message."""
        if isinstance(response, WholeResponse):
            fields = response.encoded_headers()
        else:
            fields = encode_headers(response.headers)
        start = {"status": response.status_code, "headers": fields}
        body: Any = response.response
        if isinstance(body, TrioResponse.data_body_class):
            data = body.data[body.begin : body.end]
        elif isinstance(response, WerkzeugResponse):  # Quart makes one of an HTTP error
            data = b"".join(response.iter_encoded())
        else:
            await send({"type": "http.response.start", **start})
            async with body as parts:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        await send({"type": ANSWER, **start, "body": data})


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

    async def respond(self, scope: Scope) -> ResponseTypes:
        """The response to one request."""
        has_route = (scope["method"], scope["path"]) in self.routes
        if not has_route and (scope["path"] == SERVER or (self.has_only_fixed_routes and self.is_plain())):
            return self.answer_without_route(scope)  # noqa: ASYNC910 - to send it is a checkpoint
        return await self.handle_request(self.make_request(scope))

    def make_request(self, scope: Scope) -> Request:
        return self.request_class(
            scope["method"],
            scope["scheme"],
            scope["path"],
            scope["query_string"],
            _ON_DEMAND,
            scope["root_path"],
            scope["http_version"],
            scope=scope,
            send_push_promise=_push_nothing,
        )

    # The steps of a request, each an override of Quart's

    async def handle_request(self, request: Request) -> ResponseTypes:
        async with self.request_context(request) as context:
            try:
                return await self.full_dispatch_request(context)
            except (Exception, BaseExceptionGroup) as raised:
                if _is_cancelled(raised):
                    raise
                return await self.handle_exception(_without_cancelled(raised))

    async def full_dispatch_request(self, request_context: Any = None) -> ResponseTypes:
        route = None if request_context is None else request_context.url_adapter
        if not isinstance(route, FixedRoute) or not self.is_plain():
            return await super().full_dispatch_request(request_context)
        try:
            result = await route.view()
        except (Exception, BaseExceptionGroup) as raised:
            if _is_cancelled(raised):
                raise
            result = await self.handle_user_exception(_without_cancelled(raised))
        return await self.process_response(await self.make_response(result), request_context)

    def request_context(self, request: Any) -> Any:
        context = super().request_context(request)
        context.session = _NO_SESSION
        return context

    def create_url_adapter(self, request: Any) -> MapAdapter | None:
        """Quart's own method reads the host, and raises if it is not a host name."""
        if request is None:  # for the context of the app, which every request has
            return None
        route = self.routes.get((request.method, request.path))
        if route is not None:
            return route
        query = request.query_string.decode("latin-1")  # for redirects
        return Matcher(self.url_map, "", "/", "", request.scheme, request.path, request.method, query)

    async def do_teardown_request(self, *args: Any) -> None:  # noqa: ASYNC910 - nothing to do
        if not self.is_plain():
            await super().do_teardown_request(*args)

    async def do_teardown_appcontext(self, *args: Any) -> None:  # noqa: ASYNC910 - nothing to do
        if not self.is_plain():
            await super().do_teardown_appcontext(*args)

    # Requests without a route

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

    # What is known of the app once requests come: Quart takes no route and no hook after the first

    @cached_property
    def routes(self) -> Mapping[tuple[str, str], FixedRoute]:
        """By method and path."""
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
        """The methods of each path, in alphabetical order. Those of the server are those of any path."""
        methods: dict[str, set[str]] = {SERVER: {"OPTIONS"}}
        for rule in self.url_map.iter_rules():
            methods.setdefault(rule.rule, set()).update(rule.methods or ())
            methods[SERVER].update(rule.methods or ())
        return {path: sorted(names) for path, names in methods.items()}

    @cached_property
    def _has_hooks(self) -> bool:
        hooks = (
            self.before_request_funcs,
            self.after_request_funcs,
            self.teardown_request_funcs,
            self.url_value_preprocessors,
        )
        return any(any(by_name.values()) for by_name in hooks) or bool(self.teardown_appcontext_funcs)

    def is_plain(self) -> bool:
        """Whether a request needs neither hooks nor signals."""
        return not (
            self._has_hooks
            or _STARTED.receivers
            or _FINISHED.receivers
            or _REQUEST_ENDS.receivers
            or _APP_CONTEXT_ENDS.receivers
        )


async def _push_nothing(path: str, headers: Headers) -> None:
    """HTTP/2's server push, which RFC 9113 lets a server leave out."""


def _response_to(error: MethodNotAllowed | NotFound) -> TrioResponse:
    return TrioResponse(error.get_body(), status=error.code, headers=Headers(error.get_headers()))


def _is_cancelled(raised: BaseException) -> bool:
    """Whether the exception is only a cancellation."""
    return isinstance(raised, BaseExceptionGroup) and raised.split(trio.Cancelled)[1] is None


def _without_cancelled(raised: Exception | BaseExceptionGroup[Any]) -> Any:
    """The part that error handlers may see: an exception, or a group without `Cancelled`."""
    return raised.split(trio.Cancelled)[1] if isinstance(raised, BaseExceptionGroup) else raised
