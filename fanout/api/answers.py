"""What to answer: one table from verdicts to responses.

200 for an answer, 500 for a deadline, for no success and for a bug. Whose fault it was stands in the
problem's `reason` and `calls`.
"""

from __future__ import annotations

from typing import Any, Final

from quart_trio.wrappers import TrioResponse as Response

from fanout.api import problems
from fanout.api.framework import WholeResponse
from fanout.api.problems import Problem
from fanout.api.receipts import receipt_member, receipt_timings
from fanout.race.ledger import CallRecord
from fanout.race.outcome import NOT_STARTED, Cancelled, Crash, Failure
from fanout.race.race import Race
from fanout.race.verdict import Crashed, DeadlineReached, Every, NoSuccess, One, Verdict, word_of

_WORDS: Final = {Crash.word: Failure.word}  # to a client, a bug in a call is a failed call


def answer(race: Race, now: float, with_receipt: bool) -> Response:
    """The response to a race whose nursery is closed. Synchronous: nothing can be cancelled here.

    now: Trio's clock. with_receipt: whether the client asked for the receipt (`told`).
    """
    verdict = race.verdict()
    timings = [_timing(record, verdict) for record in race.ledger.records]
    if with_receipt:
        timings += receipt_timings(race.record())
    server_timing = ", ".join(timings)
    match verdict:
        case One(_, payload):
            return _json(payload, server_timing)
        case Every(payloads):
            return _json(b"[" + b",".join(payloads) + b"]", server_timing)
        case NoSuccess() | DeadlineReached() | Crashed():
            problem = _race_problem(verdict, race, now)
            if with_receipt:
                problem.members["receipt"] = receipt_member(race.record())
            response = problem_response(problem, race.request_id)
            response.headers.add("Server-Timing", server_timing)
            return response


def problem_response(problem: Problem, request_id: str) -> Response:
    response = Response(problem.body(request_id), status=problem.status, content_type=problems.CONTENT_TYPE)
    response.headers.extend(problem.headers)
    return response


def _json(body: bytes, server_timing: str) -> Response:
    fields = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"server-timing", server_timing.encode()),
    ]
    return WholeResponse(body, fields)


def _race_problem(verdict: NoSuccess | DeadlineReached | Crashed, race: Race, now: float) -> Problem:
    members = {
        "timeout_ms": race.budget.timeout_ms,
        "elapsed_ms": _ms(race.budget.elapsed_ms(now)),
        "calls": [_call(record, verdict) for record in race.ledger.records],
    }
    match verdict:
        case NoSuccess(1):
            detail = "Every upstream call failed. See calls for how."
            return Problem(500, "no_success", "No upstream call succeeded", detail, members=members)
        case NoSuccess(needed):
            detail = f"{needed} upstream calls had to succeed, and too many failed. See calls for how."
            return Problem(500, "no_success", "Too few upstream calls succeeded", detail, members=members)
        case DeadlineReached():
            detail = f"The deadline of {race.budget.timeout_ms} ms came before the upstream had answered."
            return Problem(500, "deadline", "The deadline was reached", detail, members=members)
        case Crashed():
            internal = problems.INTERNAL
            return Problem(internal.status, internal.reason, internal.title, internal.detail, members=members)


def _call(record: CallRecord, verdict: Verdict) -> dict[str, Any]:
    outcome = record.outcome
    return {
        "upstream": record.call,
        "outcome": outcome_word(record, verdict),
        "error": error_word(record),
        "status": outcome.status if isinstance(outcome, Failure) else None,
        "elapsed_ms": _ms(record.elapsed_s * 1000),
    }


def outcome_word(record: CallRecord, verdict: Verdict) -> str:
    """`won`, `ok`, `failed` or `cancelled`: part of the API.

    Also `not_started`, if the strategy did not want the call, or not yet. `first` and `all` want every call.
    """
    word = word_of(record, verdict)
    if word == NOT_STARTED and isinstance(record.outcome, Cancelled):
        return Cancelled.word  # the race wanted it, and ended before it began
    return _WORDS.get(word, word)


def error_word(record: CallRecord) -> str | None:
    """The stable word for what went wrong with a call, or `None`."""
    match record.outcome:
        case Failure(error):
            return error
        case Crash():
            return "internal"
        case Cancelled("deadline"):
            return "deadline"
        case _:
            return None


def _timing(record: CallRecord, verdict: Verdict) -> str:
    tenths = int(record.elapsed_s * 10_000 + 0.5)  # of a millisecond; a float takes longer to write
    word = outcome_word(record, verdict)
    return f'call{record.call};dur={tenths // 10}.{tenths % 10};desc="{word}"'


def _ms(value: float) -> float:
    return round(value, 1)
