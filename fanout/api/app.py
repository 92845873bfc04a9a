"""The public application: the API, its documentation, and a problem document for every error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import trio
from quart import request
from quart_trio.wrappers import TrioResponse as Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from fanout.api import problems
from fanout.api.answers import problem_response
from fanout.api.documentation.pages import make_docs
from fanout.api.exchange import exchange_of
from fanout.api.framework import App
from fanout.api.handlers import Endpoints, Races, make_api
from fanout.api.problems import Problem, ProblemError
from fanout.race.events import BugFound
from fanout.server.asgi import Scope


class PublicApp(App):
    """Answers a request without a route with a problem document, as all other errors."""

    def answer_not_found(self, scope: Scope) -> Response:
        return _respond(scope, problems.not_found(scope["path"]))

    def answer_not_allowed(self, scope: Scope, allowed: Sequence[str]) -> Response:
        return _respond(scope, problems.method_not_allowed(scope["method"], ", ".join(allowed)))


def make_app(races: Races, endpoints: Endpoints | None = None) -> App:
    """The Quart app. It must be served inside `Exchanges`, which gives every request its exchange.

    endpoints: more than the API's own, which they cannot replace.
    """
    app = PublicApp("fanout", static_folder=None)
    app.url_map.merge_slashes = False  # /api//first is not found, and not a redirect in HTML
    app.register_blueprint(make_api(races))
    app.register_blueprint(make_docs(races))
    if endpoints is not None:
        app.register_blueprint(endpoints(races))

    @app.get("/")
    async def index() -> Response:
        return Response(status=303, headers={"Location": "/docs"})

    @app.errorhandler(ProblemError)
    async def on_problem(error: ProblemError) -> Response:
        return _respond(request.scope, error.problem)

    @app.errorhandler(HTTPException)
    async def on_http_exception(error: HTTPException) -> Response:
        return _respond(request.scope, _from_werkzeug(error))

    @app.errorhandler(Exception)
    async def on_bug(error: Exception) -> Response:
        where = f"{request.method} {request.path}"
        request_id = exchange_of(request.scope).request_id
        races.observer.notify(BugFound(request_id, where, error, trio.current_time()))
        return _respond(request.scope, problems.INTERNAL)

    app.url_map.update()  # else the first request does it that asks the matcher, and leaves a cycle behind
    return app


def _respond(scope: Mapping[str, Any], problem: Problem) -> Response:
    exchange = exchange_of(scope)
    exchange.reason = problem.reason
    return problem_response(problem, exchange.request_id)


def _from_werkzeug(error: HTTPException) -> Problem:
    """The framework's own refusals (no route, wrong method, …) as problems."""
    if isinstance(error, MethodNotAllowed):
        return problems.method_not_allowed(request.method, ", ".join(sorted(error.valid_methods or ())))
    if error.code == 404:
        return problems.not_found(request.path)
    status, title = error.code or 500, error.name
    return Problem(status, title.lower().replace(" ", "_"), title, "The request could not be served.")
