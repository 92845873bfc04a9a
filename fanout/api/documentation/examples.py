"""Real answers, for the OpenAPI document.

Those of one request are made by the code that answers it. Those of a race are written down here, and
a test runs each of these races and compares.
"""

from __future__ import annotations

import json
from typing import Final

from fanout.api import problems
from fanout.api.documentation.schemas import Json
from fanout.api.problems import Problem, ProblemError
from fanout.api.timeouts import read_timeout
from fanout.upstream import errors

REQUEST_ID: Final = "checkout-42"
METHODS: Final = "GET, HEAD, OPTIONS"


def for_first() -> Json:
    return {"first": {"summary": "One answer", "value": {"time": 187}}}


def for_all(calls: int) -> Json:
    payloads = [{"time": 187 + 155 * call} for call in range(calls)]
    return {"all": {"summary": "Every call succeeded", "value": payloads}}


def for_400(max_timeout_ms: int) -> Json:
    return {
        "no_number": _refused("timeout=soon", max_timeout_ms),
        "out_of_range": _refused(f"timeout={max_timeout_ms + 1}", max_timeout_ms),
        "repeated": _refused("timeout=200&timeout=300", max_timeout_ms),
    }


def _refused(query: str, max_timeout_ms: int) -> Json:
    try:
        read_timeout(query.encode("ascii"), max_timeout_ms, max_timeout_ms, "", ())
    except ProblemError as error:
        return {**_example(error.problem), "summary": f"?{query}"}
    raise AssertionError(f"{query} was accepted")


def for_500(calls: int) -> Json:
    """Each with call 0 as shown and all other calls alike."""
    deadline = Problem(
        500,
        "deadline",
        "The deadline was reached",
        "The deadline of 1000 ms came before the upstream had answered.",
        members={
            "timeout_ms": 1000,
            "elapsed_ms": 980.0,
            "calls": [
                _call(0, "failed", errors.BAD_STATUS, 503, 118.0),
                *(_call(call, "cancelled", "deadline", None, 980.0) for call in range(1, calls)),
            ],
        },
    )
    no_success = Problem(
        500,
        "no_success",
        "No upstream call succeeded",
        "Every upstream call failed. See calls for how.",
        members={
            "timeout_ms": 1000,
            "elapsed_ms": 412.5,
            "calls": [
                _call(0, "failed", errors.UNREACHABLE, None, 3.0),
                *(_call(call, "failed", errors.BAD_PAYLOAD, 200, 412.5) for call in range(1, calls)),
            ],
        },
    )
    return by_reason(deadline, no_success, problems.INTERNAL)


def _call(upstream: int, outcome: str, error: str, status: int | None, elapsed_ms: float) -> Json:
    return {
        "upstream": upstream,
        "outcome": outcome,
        "error": error,
        "status": status,
        "elapsed_ms": elapsed_ms,
    }


def by_reason(*found: Problem) -> Json:
    return {problem.reason: _example(problem) for problem in found}


def _example(problem: Problem) -> Json:
    return {"summary": problem.title, "value": json.loads(problem.body(REQUEST_ID))}
