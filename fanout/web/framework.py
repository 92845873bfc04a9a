"""Quart, without the work that no request to this app needs.

A request here has no body (`Exchanges` refuses one), its path is one of a few fixed ones, there is no
session, and the answer is in one piece. So the body's queue, the matching of patterns, the cookie and the
iterator are left out, which is a third of what Quart does for a request. Handlers, `request`, error handlers
and hooks work as they always do.

The matcher is left out for another reason too: it leaves a cycle of objects behind, for the garbage
collector to find, with every request.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from functools import cached_property
from typing import Any

import trio
from quart.ctx import RequestContext
from quart.sessions import NullSession
from quart.typing import ResponseTypes
from quart.utils import encode_headers
from quart.wrappers.response import DataBody
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest
from quart_trio.wrappers.request import TrioBody
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map, MapAdapter, Rule
from werkzeug.wrappers import Response as WerkzeugResponse

from fanout.web.asgi import Receive, Send


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


class RequestTask(TrioASGIHTTPConnection):
    """One request, in the connection's own task. Beside the handler a second one waits for a hang-up (G6).

    Rule 1: it has ended before the answer begins, so that nothing of the request is left then (G3). A caller
            who leaves later is noticed by the write.
    """

    async def __call__(self, receive: Receive, send: Send) -> None:
        request = self._create_request_from_scope(send)
        response: ResponseTypes | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_caller_leaves, nursery.cancel_scope, receive)
            response = await self.app.handle_request(request)
            nursery.cancel_scope.cancel(reason="the answer is there")
        if response is not None:
            await self._send_response(send, response)

    async def _send_response(self, send: Send, response: ResponseTypes) -> None:
        """In two messages when the body is there as a whole: no further one to say that this was all."""
        body = response.response
        if isinstance(response, WerkzeugResponse) or not isinstance(body, DataBody):
            await super()._send_response(send, response)
            return
        headers = encode_headers(response.headers)
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": body.data[body.begin : body.end]})


async def _cancel_when_caller_leaves(scope: trio.CancelScope, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel(reason="the caller has left")


class FixedRoute(MapAdapter):
    """What the matcher would find for one method and one path."""

    def __init__(self, url_map: Map, rule: Rule, method: str) -> None:
        super().__init__(url_map, "", "/", "", "http", rule.rule, method)
        self._rule = rule

    def match(self, *args: Any, **kwargs: Any) -> Any:
        return self._rule, {}


class NoRoute(MapAdapter):
    """For a path that no rule can match."""

    def match(self, *args: Any, **kwargs: Any) -> Any:
        raise NotFound


class App(QuartTrio):
    asgi_http_class = RequestTask
    request_class = BodylessRequest

    @cached_property
    def _fixed_routes(self) -> Mapping[tuple[str, str], FixedRoute]:
        routes: dict[tuple[str, str], FixedRoute] = {}
        for rule in self.url_map.iter_rules():
            if rule.arguments:
                continue
            for method in (rule.methods or set()) - {"OPTIONS"}:  # its answer asks the matcher for the others
                routes.setdefault((method, rule.rule), FixedRoute(self.url_map, rule, method))
        return routes

    def create_url_adapter(self, request: Any) -> MapAdapter | None:
        if request is not None:
            if request.scope["path"].startswith("//"):  # werkzeug takes these slashes for one
                return NoRoute(self.url_map, "", "/", "", "http", request.path, request.method)
            route = self._fixed_routes.get((request.method, request.path))
            if route is not None:
                return route
        return super().create_url_adapter(request)

    def request_context(self, request: Any) -> RequestContext:
        return RequestContext(self, request, NullSession())
