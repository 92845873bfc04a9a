"""What the public application adds to its routes: every error on Quart's way is a problem (G1, G11)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from quart import abort
from werkzeug.exceptions import Conflict, MethodNotAllowed

from fanout.api.app import make_app
from fanout.api.framework import App
from fanout.api.handlers import Races
from fanout.race.events import BugFound, RequestEnded
from fanout.testing import answers, run_scenario
from fanout.testing.scenario import Replay

BUG = KeyError("a bug")


def bug() -> None:
    raise BUG


def not_acceptable() -> None:
    abort(406)


def lose() -> None:
    abort(404)


def conflict() -> None:
    raise Conflict


def take_back() -> None:
    raise MethodNotAllowed(["PUT", "GET"])


def take_back_all() -> None:
    raise MethodNotAllowed


def with_route(raises: Callable[[], None], *, has_hooks: bool = False) -> Callable[[Races], App]:
    """The application with one more route, `/more`, and with a hook, which takes it all of Quart's way."""

    def make(races: Races) -> App:
        app = make_app(races)

        @app.get("/more")
        async def more() -> str:
            raises()
            return "more"

        if has_hooks:

            @app.before_request
            async def before() -> None:
                pass

        return app

    return make


def ended_for(replay: Replay) -> str | None:
    (ended,) = [event for event in replay.events if isinstance(event, RequestEnded)]
    return ended.reason


@pytest.mark.parametrize("has_hooks", [False, True])
@pytest.mark.parametrize(
    ("raises", "status", "reason", "title", "detail"),
    [
        (not_acceptable, 406, "not_acceptable", "Not Acceptable", "The request could not be served."),
        (conflict, 409, "conflict", "Conflict", "The request could not be served."),
        (
            lose,
            404,
            "not_found",
            "There is nothing here",
            "There is nothing at /more. Try /api/first, /api/all, /docs or /openapi.json.",
        ),
        (
            take_back,
            405,
            "method_not_allowed",
            "Not this method",
            "GET is not possible here. Allowed: GET, PUT.",
        ),
        (take_back_all, 405, "method_not_allowed", "Not this method", "GET is not possible here. Allowed: ."),
    ],
)
def test_an_http_error_is_a_problem(
    raises: Callable[[], None], status: int, reason: str, title: str, detail: str, has_hooks: bool
) -> None:
    replay = run_scenario("/more", [], make_app=with_route(raises, has_hooks=has_hooks))
    assert replay.json == {
        "type": f"urn:fanout:problem:{reason}",
        "title": title,
        "status": status,
        "detail": detail,
        "reason": reason,
        "request_id": "scenario-1",
    }
    assert (replay.status, ended_for(replay)) == (status, reason)


@pytest.mark.parametrize("has_hooks", [False, True])
def test_a_bug_in_a_handler_is_reported_once_and_is_a_500(has_hooks: bool) -> None:
    """G11."""
    replay = run_scenario("/more", [], make_app=with_route(bug, has_hooks=has_hooks))
    assert (replay.status, replay.json["reason"], ended_for(replay)) == (500, "internal", "internal")
    bugs = [event for event in replay.events if isinstance(event, BugFound)]
    assert bugs == [BugFound("scenario-1", "GET /more", BUG, 0.0)]


@pytest.mark.parametrize(
    ("target", "method", "status", "reason"),
    [
        ("/api//first", "GET", 404, "not_found"),
        ("/nowhere", "GET", 404, "not_found"),
        ("/api/first", "POST", 405, "method_not_allowed"),
        ("/api/first?timeout=x", "GET", 400, "invalid_timeout"),
    ],
)
def test_an_application_with_hooks_gives_the_same_problems(
    target: str, method: str, status: int, reason: str
) -> None:
    """On Quart's way a path with two slashes would be a redirect, in HTML."""
    made = with_route(lambda: None, has_hooks=True)
    replay = run_scenario(target, [answers(1)], method=method, make_app=made)
    plain = run_scenario(target, [answers(1)], method=method)
    assert (replay.status, replay.json["reason"], ended_for(replay)) == (status, reason, reason)
    assert (replay.json, replay.headers) == (plain.json, plain.headers)
