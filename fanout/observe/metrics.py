"""Metrics of requests and their calls: made from receipts, for Prometheus to scrape.

Names, labels and units are OpenTelemetry's where it has any. What they mean to an operator stands in
`docs/operations.md`, which a test holds to this file.

A request costs a few look-ups and additions. Everything else happens when it is scraped.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Final

from prometheus_client import Metric

from fanout.observe.metrics_family import (
    MAX_SERIES,
    OTHER,
    Counter,
    Histogram,
    Series,
    counter,
    gauge,
    histogram,
)
from fanout.observe.receipt import CLIENT_DISCONNECTED, NO_RACE, Receipt
from fanout.race.events import BugFound, Event, LeftTaskEnded, TaskLeft
from fanout.race.outcome import NOT_STARTED, SUCCESSES, Cancelled, Crash, Failure

# Fine where the upstream answers, 100 to 600 ms, and at the timeouts that clients usually ask for.
DURATION_BOUNDS_S: Final = (
    *(0.005, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7),
    *(0.85, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0),
)
EXIT_BOUNDS_S: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)

SERVER_DURATION: Final = histogram(
    "http_server_request_duration_seconds",
    "From the head of a request to the last byte of its answer.",
    ("http_request_method", "url_scheme", "http_route", "http_response_status_code", "error_type"),
)
CLIENT_DURATION: Final = histogram(
    "http_client_request_duration_seconds",
    "From the start of an upstream call to its end, however it ended.",
    (
        "http_request_method",
        "url_scheme",
        "server_address",
        "server_port",
        "http_response_status_code",
        "error_type",
        "fanout_outcome",
    ),
)
_SETTLED: Final = " settled the race"  # ends the reason with which `Race.run` cancels the losers
CALLS: Final = counter(
    "fanout_calls",
    "Upstream calls by how they ended, and why.",
    ("call", "server_address", "outcome", "reason"),
)
ANSWERS: Final = counter(
    "fanout_answers", "Requests by what their clients received, and why.", ("endpoint", "result", "reason")
)
CANCEL_TO_EXIT: Final = histogram(
    "fanout_call_cancel_to_exit_seconds",
    "From the moment an upstream call was cancelled to the moment it was gone.",
)
TASKS_LEFT: Final = counter(
    "fanout_call_tasks_left",
    "asyncio tasks that were alive after their call had ended.",
    ("call", "server_address", "place"),
)
LEFT_ALIVE: Final = gauge(
    "fanout_call_tasks_left_alive", "asyncio tasks that outlived their call and are still alive."
)

_ROUTES: Final = {"first": "/api/first", "all": "/api/all"}
_STATUSES: Final[dict[int | None, str]] = {
    None: "",
    **{int(status): str(int(status)) for status in HTTPStatus},
}


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where one call goes, as the settings have it."""

    scheme: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class BrokenGuarantees:
    """Guarantees that were not kept, as far as the server can see it. All zero is the aim."""

    late_answers: int
    bugs: int


@dataclass(frozen=True, slots=True)
class RequestStatistics:
    """answers: by status, also those that the client did not wait for. refused: requests without a race that
    were answered with a problem, by its reason. races: by how they ended, those of clients that disconnected
    left out. calls: by outcome or, of failed ones, by error word. tasks_left: asyncio tasks that were alive
    after their call, by the place in the code; tasks_left_alive: those that still are. Without the asyncio
    bridge there are none, and cannot be.
    """

    answers: dict[str, int]
    refused: dict[str, int]
    races: dict[str, int]
    calls: dict[str, int]
    clients_disconnected: int
    guarantees_broken: BrokenGuarantees
    tasks_left: dict[str, int]
    tasks_left_alive: int


class RequestMetrics:
    """Counts and measures: a consumer of receipts, and an observer of bugs and of tasks that calls leave.
    `/metrics` and `/statistics` are two views of the same numbers."""

    interests: Final = frozenset({BugFound, LeftTaskEnded, TaskLeft})

    def __init__(self, upstreams: Sequence[Upstream], *, scheme: str) -> None:
        """upstreams: in call order. scheme: what the public listener speaks, `http` or `https`."""
        self._scheme = scheme
        self._servers = [("GET", u.scheme, u.address, str(u.port)) for u in upstreams]
        self._calls_to = [(str(call), u.address) for call, u in enumerate(upstreams)]
        durations = partial(Histogram, DURATION_BOUNDS_S)
        self._server = Series(durations, (OTHER, scheme, OTHER, OTHER, OTHER))
        self._client = Series(durations, (OTHER,) * len(CLIENT_DURATION.labels))
        self._calls = Series(Counter, (OTHER,) * len(CALLS.labels))
        self._answers = Series(Counter, (OTHER,) * len(ANSWERS.labels))
        self._exit = Histogram(EXIT_BOUNDS_S)
        self._tasks_left = Series(Counter, (OTHER,) * len(TASKS_LEFT.labels))
        self._left_alive = 0
        self._bugs = 0
        # Requests and calls of one kind go to the same series: those are found once, not once a request.
        self._of_request = lru_cache(MAX_SERIES)(self._find_request)
        self._of_call = lru_cache(MAX_SERIES)(self._find_call)

    def notify(self, event: Event) -> None:
        match event:
            case BugFound():
                self._bugs += 1
            case TaskLeft():
                self._left_alive += 1
                self._tasks_left[(*self._calls_to[event.call], event.place)].value += 1
            case LeftTaskEnded():
                self._left_alive -= 1

    def __call__(self, receipt: Receipt) -> None:
        """Take one receipt in. Neither blocks nor raises."""
        trace_id, request_id, reason = receipt.trace_id, receipt.request_id, receipt.reason
        answers, durations = self._of_request(
            receipt.endpoint, receipt.status, reason, receipt.late_by_ms > 0
        )
        answers.value += 1
        durations.observe(receipt.used_ms / 1000, trace_id, request_id)
        client_disconnected = reason == CLIENT_DISCONNECTED
        for call in receipt.calls:
            started_at, ended_at, exit_ms = call.started_at, call.ended_at, call.cancel_to_exit_ms
            why = call.cancel_reason
            by_client = client_disconnected and not (why and why.endswith(_SETTLED))
            calls, client = self._of_call(
                call.call, call.outcome, call.error, call.status, call.cancel_source, by_client
            )
            calls.value += 1
            if client is None or started_at is None or ended_at is None:
                continue
            client.observe(ended_at - started_at, trace_id, request_id)
            if exit_ms is not None:
                self._exit.observe(exit_ms / 1000, trace_id, request_id)

    def _find_request(
        self, endpoint: str, status: int | None, reason: str, is_late: bool
    ) -> tuple[Counter, Histogram]:
        route = _ROUTES.get(endpoint, "")
        # A receipt has the method of a request only by its race. A HEAD counts as the GET that it makes.
        method = "GET" if route else OTHER
        error = reason if status is None or status >= 500 else ""
        return (
            self._answers[endpoint, _result(endpoint, status, reason, is_late), reason],
            self._server[method, self._scheme, route, _STATUSES.get(status, OTHER), error],
        )

    def _find_call(
        self,
        call: int,
        outcome: str,
        error: str | None,
        status: int | None,
        cancel_source: str | None,
        by_client: bool,
    ) -> tuple[Counter, Histogram | None]:
        """One that was not started has no duration."""
        reason = _reason(outcome, error, cancel_source, by_client)
        calls = self._calls[(*self._calls_to[call], outcome, reason)]
        if outcome == NOT_STARTED:
            return calls, None
        return calls, self._client[(*self._servers[call], *_ended(outcome, error, status, cancel_source))]

    def collect(self) -> Iterator[Metric]:
        """Every family, also those that have no series yet. Each piece is as it is when it is asked for."""
        yield from SERVER_DURATION.histograms(list(self._server.items()))
        yield from CLIENT_DURATION.histograms(list(self._client.items()))
        yield CALLS.metric((labels, counted.value) for labels, counted in self._calls.items())
        yield ANSWERS.metric((labels, counted.value) for labels, counted in self._answers.items())
        yield from CANCEL_TO_EXIT.histograms([((), self._exit)])
        yield TASKS_LEFT.metric((labels, counted.value) for labels, counted in self._tasks_left.items())
        yield LEFT_ALIVE.one(self._left_alive)

    def statistics(self) -> RequestStatistics:
        answers, refused, races, calls, results = [Counts[str]() for _ in range(5)]
        for (_, _, _, status, _), durations in self._server.items():
            if status:
                answers[status] += durations.count
        for (endpoint, result, reason), count in self._answers.items():
            results[result] += count.value
            if endpoint == NO_RACE:
                if result == "refused":
                    refused[reason] += count.value
            elif result != "left":
                races[reason] += count.value
        for (_, _, outcome, reason), count in self._calls.items():
            word = "success" if outcome in SUCCESSES else outcome
            calls[reason if outcome == Failure.word else word] += count.value
        left = Counts[str]()
        for (_, _, place), counted in self._tasks_left.items():
            left[place] += counted.value
        return RequestStatistics(
            dict(answers),
            dict(refused),
            dict(races),
            dict(calls),
            results["left"],
            BrokenGuarantees(results["late"], self._bugs),
            dict(left),
            self._left_alive,
        )


def _result(endpoint: str, status: int | None, reason: str, is_late: bool) -> str:
    """What the client received, in one word."""
    if reason == CLIENT_DISCONNECTED:
        return "left"
    if is_late:
        return "late"
    if reason == "success":
        return "other" if endpoint == NO_RACE else "useful"
    return "error" if status == 500 else "refused"


def _reason(outcome: str, error: str | None, cancel_source: str | None, by_client: bool) -> str:
    """Why a call ended as it did, in one word; empty for a success. by_client: its disconnect did it."""
    if outcome in SUCCESSES:
        return ""
    if outcome == Crash.word:
        return "bug"
    if error is not None:
        return error
    match cancel_source:
        case "deadline":
            return "deadline"
        case "explicit":
            return CLIENT_DISCONNECTED if by_client else "settled"
        case _:
            return "other"


def _ended(
    outcome: str, error: str | None, status: int | None, cancel_source: str | None
) -> tuple[str, str, str]:
    """A call's status code, error type and outcome, in OpenTelemetry's terms.

    An intended cancellation is no error. A deadline is one, `timeout`.
    """
    if outcome in SUCCESSES:
        return "200", "", "success"
    if outcome == Cancelled.word:
        return "", "timeout" if cancel_source == "deadline" else "", outcome
    if outcome == Crash.word:
        return "", outcome, outcome
    code = _STATUSES.get(status, OTHER)
    return code, code if error == "bad_status" else error or OTHER, Failure.word
