"""Every problem as clients get it: the whole document, and the fields of its head (DESIGN.md §2)."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

import pytest
import trio
from quart import Blueprint, request
from quart_trio.wrappers import TrioResponse as Response

from fanout.api import problems
from fanout.api.answers import answer
from fanout.api.app import make_app
from fanout.api.exchange import exchange_of
from fanout.api.handlers import Races
from fanout.api.problems import Problem, ProblemError, invalid_timeout, render
from fanout.race.ledger import Ledger
from fanout.race.verdict import NoSuccess, Verdict
from fanout.server.rejections import Rejection
from fanout.testing import ScriptedCall, answers, crashes, fails, hangs, run_scenario

RACES: Final[list[tuple[str, list[ScriptedCall], dict[str, Any], str]]] = [
    (
        "/api/first?timeout=5000",
        [fails(12.345, "broken"), fails(40, status=503)],
        {
            "title": "No upstream call succeeded",
            "detail": "Every upstream call failed. See calls for how.",
            "reason": "no_success",
            "timeout_ms": 5000,
            "elapsed_ms": 40.0,
            "calls": [
                {"upstream": 0, "outcome": "failed", "error": "broken", "status": None, "elapsed_ms": 12.3},
                {"upstream": 1, "outcome": "failed", "error": "bad_status", "status": 503, "elapsed_ms": 40},
            ],
        },
        'call0;dur=12.3;desc="failed", call1;dur=40.0;desc="failed"',
    ),
    (
        "/api/all?timeout=100",
        [hangs(), fails(10)],
        {
            "title": "The deadline was reached",
            "detail": "The deadline of 100 ms came before the upstream had answered.",
            "reason": "deadline",
            "timeout_ms": 100,
            "elapsed_ms": 100.0,
            "calls": [
                {
                    "upstream": 0,
                    "outcome": "cancelled",
                    "error": "deadline",
                    "status": None,
                    "elapsed_ms": 100,
                },
                {"upstream": 1, "outcome": "failed", "error": "bad_status", "status": None, "elapsed_ms": 10},
            ],
        },
        'call0;dur=100.0;desc="cancelled", call1;dur=10.0;desc="failed"',
    ),
    (
        "/api/all?timeout=100",
        [hangs(), crashes(50)],
        {
            "title": "A bug in fanout",
            "detail": "The request failed through a fault of the server. It was logged under the request id.",
            "reason": "internal",
            "timeout_ms": 100,
            "elapsed_ms": 50.0,
            "calls": [
                {"upstream": 0, "outcome": "cancelled", "error": None, "status": None, "elapsed_ms": 50},
                {"upstream": 1, "outcome": "failed", "error": "internal", "status": None, "elapsed_ms": 50},
            ],
        },
        'call0;dur=50.0;desc="cancelled", call1;dur=50.0;desc="failed"',
    ),
]


@pytest.mark.parametrize(("target", "calls", "members", "timing"), RACES)
def test_the_problem_of_a_race(
    target: str, calls: list[ScriptedCall], members: dict[str, Any], timing: str
) -> None:
    replay = run_scenario(target, calls)
    assert replay.json == {
        "type": f"urn:fanout:problem:{members['reason']}",
        "status": 500,
        "request_id": "scenario-1",
        **members,
    }
    assert replay.headers == {
        "content-type": "application/problem+json",
        "content-length": str(len(replay.body)),
        "server-timing": timing,
        "cache-control": "no-store",
        "x-request-id": "scenario-1",
    }


def an_endpoint_that_needs_two(races: Races) -> Blueprint:
    """`/api/two`: a strategy of somebody's own, which never wants the last call."""

    def needs_two(ledger: Ledger) -> Verdict | None:
        return None if ledger.pending else NoSuccess(2)

    async def two() -> Response:
        race = races.of_request(exchange_of(request.scope), needs_two)
        *wanted, last = race.calls
        race.leave_out(last, "it is never wanted")
        async with trio.open_nursery() as nursery:
            for call in wanted:
                nursery.start_soon(race.run, call, nursery.cancel_scope)
        return answer(race, trio.current_time(), with_receipt=False)

    blueprint = Blueprint("own", __name__)
    blueprint.add_url_rule("/api/two", "two", two)
    return blueprint


def test_the_problem_of_a_race_that_needed_several_successes() -> None:
    """It says how many, and of a call that was not wanted that it was not started."""
    calls = [answers(10), fails(20), answers(0)]
    app = partial(make_app, endpoints=an_endpoint_that_needs_two)
    replay = run_scenario("/api/two", calls, make_app=app)
    detail = "2 upstream calls had to succeed, and too many failed. See calls for how."
    document = document_of(500, "no_success", "Too few upstream calls succeeded", detail, "scenario-1")
    assert replay.status == 500
    assert replay.json == document | {
        "timeout_ms": 1000,
        "elapsed_ms": 20.0,
        "calls": [
            {"upstream": 0, "outcome": "ok", "error": None, "status": None, "elapsed_ms": 10},
            {"upstream": 1, "outcome": "failed", "error": "bad_status", "status": None, "elapsed_ms": 20},
            {"upstream": 2, "outcome": "not_started", "error": None, "status": None, "elapsed_ms": 0},
        ],
    }


NOT_RACED: Final[list[tuple[str, dict[str, Any], int, str, str, str, dict[str, str]]]] = [
    (
        "/nowhere",
        {},
        404,
        "not_found",
        "There is nothing here",
        "There is nothing at /nowhere. Try /api/first, /api/all, /docs or /openapi.json.",
        {},
    ),
    (
        "/api/first",
        {"method": "POST"},
        405,
        "method_not_allowed",
        "Not this method",
        "POST is not possible here. Allowed: GET, HEAD, OPTIONS.",
        {"allow": "GET, HEAD, OPTIONS"},
    ),
    (
        "/api/first?timeout=x",
        {},
        400,
        "invalid_timeout",
        "The timeout is not valid",
        "timeout must be milliseconds in decimal digits, 1 to 30000, such as timeout=1000.",
        {},
    ),
    (
        "/api/all?timeout=30001",
        {},
        400,
        "invalid_timeout",
        "The timeout is not valid",
        "timeout must be from 1 to 30000 milliseconds.",
        {},
    ),
    (
        "/api/first?timeout=1&timeout=2",
        {},
        400,
        "invalid_timeout",
        "The timeout is not valid",
        "timeout was given 2 times. Give it once.",
        {},
    ),
    (
        "/api/first",
        {"headers": [(b"content-length", b"1")]},
        413,
        "unexpected_body",
        "A body is not wanted",
        "Nothing here takes a request body. Send the request without one.",
        {"connection": "close"},
    ),
    (
        "/api/first",
        {"max_in_flight": 0},
        503,
        "overloaded",
        "Too many requests in flight",
        "The request was refused at once instead of being queued. Try again after the time in Retry-After.",
        {"retry-after": "1"},
    ),
]


@pytest.mark.parametrize(("target", "options", "status", "reason", "title", "detail", "fields"), NOT_RACED)
def test_the_problem_of_a_request_without_a_race(
    target: str,
    options: dict[str, Any],
    status: int,
    reason: str,
    title: str,
    detail: str,
    fields: dict[str, str],
) -> None:
    replay = run_scenario(target, [], **options)
    assert replay.status == status
    assert replay.json == document_of(status, reason, title, detail, "scenario-1")
    assert replay.headers == {
        "content-type": "application/problem+json",
        "content-length": str(len(replay.body)),
        "cache-control": "no-store",
        "x-request-id": "scenario-1",
        **fields,
    }


def document_of(status: int, reason: str, title: str, detail: str, request_id: str) -> dict[str, Any]:
    return {
        "type": f"urn:fanout:problem:{reason}",
        "title": title,
        "status": status,
        "detail": detail,
        "reason": reason,
        "request_id": request_id,
    }


def test_a_server_that_drains_says_so_and_a_rejection_says_when_to_ask_again() -> None:
    """G9: the client is told to ask again, on another connection."""
    problem = problems.DRAINING
    assert json.loads(problem.body("r")) == document_of(
        503,
        "draining",
        "The server is shutting down",
        "It finishes what it has admitted and takes nothing new. Try again: another instance will answer.",
        "r",
    )
    assert problem.headers == (("Retry-After", "1"), ("Connection", "close"))
    assert problems.OVERLOADED.headers == (("Retry-After", "1"),)
    assert problems.UNEXPECTED_BODY.headers == (("Connection", "close"),)
    assert problems.method_not_allowed("PUT", "GET").headers == (("Allow", "GET"),)


def test_what_the_server_itself_rejects_has_no_id_and_is_not_stored() -> None:
    rejection = Rejection(431, "head_too_large", "Too large", "Send less.", (("X-One", "1"),))
    fields, body = render(rejection)
    assert json.loads(body) == document_of(431, "head_too_large", "Too large", "Send less.", "unread")
    assert fields == [
        ("content-type", "application/problem+json"),
        ("cache-control", "no-store"),
        ("x-request-id", "unread"),
        ("X-One", "1"),
    ]


def test_what_a_handler_raises_carries_its_problem() -> None:
    problem: Problem = invalid_timeout("why")
    assert (problem.status, problem.reason, problem.detail) == (400, "invalid_timeout", "why")
    assert (str(ProblemError(problem)), ProblemError(problem).problem) == ("invalid_timeout", problem)
