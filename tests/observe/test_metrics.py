"""What metrics make of receipts: each request counted once, in words that are few whatever is sent."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import pytest
import trio
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from fanout.admin.exposition import SAMPLES_PER_TURN, expose
from fanout.observe.metrics import BrokenGuarantees, RequestMetrics, Upstream
from fanout.observe.metrics_family import MAX_SERIES, Histogram, gauge, histogram
from fanout.observe.observers import Observers
from fanout.observe.receipt import CallReceipt, Receipt
from fanout.race.events import BugFound, LeftTaskEnded, TaskLeft
from fanout.race.outcome import Cancelled
from fanout.testing import answers, hangs, run_scenario

WON = CallReceipt(0, "won", None, None, 10.0, 10.25, (), True, True, None, None, None)
LOST = WON._replace(
    call=1, outcome="cancelled", cancel_source="explicit", cancel_to_exit_ms=0.2, ended_at=10.2501
)
FIRST = Receipt("id-1", None, "first", 10.0, 1000, 20.0, 10.251, 251.0, 200, "success", 0.0, (WON, LOST))
UPSTREAMS = [Upstream("https", "a.example", 443), Upstream("http", "b.example", 8000)]


def metrics_of(*receipts: Receipt) -> RequestMetrics:
    metrics = RequestMetrics(UPSTREAMS, scheme="http")
    for receipt in receipts:
        metrics(receipt)
    return metrics


def samples_of(metrics: RequestMetrics, name: str) -> list[Sample]:
    return [s for family in metrics.collect() for s in family.samples if s.name == name]


def only(metrics: RequestMetrics, name: str, **labels: str) -> Sample:
    """The one sample of this name with at least these labels."""
    found = [s for s in samples_of(metrics, name) if labels.items() <= s.labels.items()]
    assert len(found) == 1, found
    return found[0]


def test_a_race_is_one_server_request_and_two_client_calls() -> None:
    metrics = metrics_of(FIRST)
    server = only(metrics, "http_server_request_duration_seconds_count")
    assert server.value == 1
    assert server.labels == {
        "http_request_method": "GET",
        "url_scheme": "http",
        "http_route": "/api/first",
        "http_response_status_code": "200",
        "error_type": "",
    }
    assert only(metrics, "http_server_request_duration_seconds_sum").value == pytest.approx(0.251)
    won = only(metrics, "http_client_request_duration_seconds_count", fanout_outcome="success")
    assert won.labels == {
        "http_request_method": "GET",
        "url_scheme": "https",
        "server_address": "a.example",
        "server_port": "443",
        "http_response_status_code": "200",
        "error_type": "",
        "fanout_outcome": "success",
    }
    assert only(metrics, "fanout_answers_total").labels == {
        "endpoint": "first",
        "result": "useful",
        "reason": "success",
    }


def test_a_cancelled_loser_is_counted_and_is_no_error() -> None:
    """OpenTelemetry's own httpx instrumentation does not see it at all."""
    metrics = metrics_of(FIRST)
    lost = only(metrics, "http_client_request_duration_seconds_count", fanout_outcome="cancelled")
    assert lost.value == 1
    assert (lost.labels["server_address"], lost.labels["error_type"]) == ("b.example", "")
    assert only(metrics, "fanout_calls_total", call="1").labels["reason"] == "settled"
    assert only(metrics, "fanout_call_cancel_to_exit_seconds_sum").value == pytest.approx(0.0002)


@pytest.mark.parametrize(
    ("changes", "outcome", "reason", "status", "error"),
    [
        ({"outcome": "ok"}, "ok", "", "200", ""),
        ({"outcome": "failed", "error": "bad_status", "status": 503}, "failed", "bad_status", "503", "503"),
        (
            {"outcome": "failed", "error": "bad_status", "status": 299},
            "failed",
            "bad_status",
            "_OTHER",
            "_OTHER",
        ),
        (
            {"outcome": "failed", "error": "bad_payload", "status": 200},
            "failed",
            "bad_payload",
            "200",
            "bad_payload",
        ),
        ({"outcome": "failed", "error": "unreachable"}, "failed", "unreachable", "", "unreachable"),
        ({"outcome": "cancelled", "cancel_source": "deadline"}, "cancelled", "deadline", "", "timeout"),
        ({"outcome": "cancelled", "cancel_source": "shutdown"}, "cancelled", "other", "", ""),
        ({"outcome": "internal"}, "internal", "bug", "", "internal"),
    ],
)
def test_how_a_call_ended(
    changes: dict[str, Any], outcome: str, reason: str, status: str, error: str
) -> None:
    metrics = metrics_of(FIRST._replace(calls=(WON._replace(**changes),)))
    call = only(metrics, "fanout_calls_total")
    assert (call.labels["outcome"], call.labels["reason"]) == (outcome, reason)
    duration = only(metrics, "http_client_request_duration_seconds_count")
    assert duration.labels["http_response_status_code"] == status
    assert duration.labels["error_type"] == error


def test_a_call_that_never_started_is_counted_and_has_no_duration() -> None:
    call = WON._replace(outcome="not_started", started_at=None, ended_at=10.0, cancel_source="deadline")
    metrics = metrics_of(FIRST._replace(status=500, reason="deadline", calls=(call,)))
    assert only(metrics, "fanout_calls_total").labels["reason"] == "deadline"
    assert samples_of(metrics, "http_client_request_duration_seconds_count") == []


def test_a_call_behind_one_that_never_started_is_measured() -> None:
    call = WON._replace(outcome="not_started", started_at=None, cancel_source="deadline")
    metrics = metrics_of(FIRST._replace(calls=(call, WON._replace(call=1))))
    measured = only(metrics, "http_client_request_duration_seconds_count")
    assert (measured.labels["server_address"], measured.value) == ("b.example", 1)


@pytest.mark.parametrize(
    ("changes", "result", "error"),
    [
        ({"late_by_ms": 3.0}, "late", ""),
        ({"status": 500, "reason": "deadline"}, "error", "deadline"),
        ({"status": 500, "reason": "deadline", "late_by_ms": 3.0}, "late", "deadline"),
        ({"status": None, "reason": "client_disconnected"}, "left", "client_disconnected"),
        ({"status": 503, "reason": "overloaded", "endpoint": "other", "calls": ()}, "refused", "overloaded"),
        ({"status": 400, "reason": "invalid_timeout", "endpoint": "other", "calls": ()}, "refused", ""),
        ({"status": 500, "reason": "internal", "endpoint": "other", "calls": ()}, "error", "internal"),
        ({"status": 200, "endpoint": "other", "calls": ()}, "other", ""),
    ],
)
def test_what_a_client_got(changes: dict[str, Any], result: str, error: str) -> None:
    metrics = metrics_of(FIRST._replace(**changes))
    assert only(metrics, "fanout_answers_total").labels["result"] == result
    assert only(metrics, "http_server_request_duration_seconds_count").labels["error_type"] == error


def test_calls_of_a_client_that_left_were_cancelled_for_that() -> None:
    metrics = metrics_of(FIRST._replace(status=None, reason="client_disconnected", calls=(LOST,)))
    assert only(metrics, "fanout_calls_total").labels["reason"] == "client_disconnected"


def test_a_loser_of_a_race_that_was_settled_before_the_disconnect_was_cancelled_for_that() -> None:
    """The reason is that of a real race: nothing else ties its words to those that the metric looks for."""
    _, loser = run_scenario("/api/first", [answers(10), hangs()]).records
    assert isinstance(loser.outcome, Cancelled)
    lost = LOST._replace(cancel_reason=loser.outcome.reason)
    metrics = metrics_of(FIRST._replace(status=None, reason="client_disconnected", calls=(WON, lost)))
    assert only(metrics, "fanout_calls_total", outcome="cancelled").labels["reason"] == "settled"


def test_a_value_is_in_the_bucket_that_it_is_the_bound_of() -> None:
    histogram = Histogram((0.1, 0.2))
    for value in (0.1, 0.10001, 0.2, 7.0):
        histogram.observe(value, None, "id")
    assert [row[:2] for row in histogram.buckets()] == [("0.1", 1), ("0.2", 3), ("+Inf", 4)]
    assert histogram.sum == pytest.approx(7.40001)


def test_an_exemplar_is_the_trace_or_else_the_request() -> None:
    traced, untraced = FIRST._replace(trace_id="ab" * 16, used_ms=55.0), FIRST._replace(used_ms=555.0)
    metrics = metrics_of(traced, untraced, untraced._replace(request_id="id-2", used_ms=560.0))
    name = "http_server_request_duration_seconds_bucket"
    exemplars = {s.labels["le"]: s.exemplar for s in samples_of(metrics, name) if s.exemplar}
    assert {le: (e.labels, e.value) for le, e in exemplars.items()} == {
        "0.1": ({"trace_id": "ab" * 16}, 0.055),
        "0.6": ({"request_id": "id-2"}, 0.56),
    }


async def test_a_request_id_too_long_for_an_exemplar_is_left_out() -> None:
    """128 characters are a sane request id and, with its name, more than OpenMetrics allows."""
    metrics = metrics_of(
        FIRST._replace(request_id="x" * 128, used_ms=55.0), FIRST._replace(request_id="y" * 118)
    )
    _, body = await expose(metrics.collect(), "application/openmetrics-text")
    text = body.decode()
    assert "x" * 128 not in text
    assert "y" * 118 in text
    parsed = text_string_to_metric_families(text)
    assert len(list(parsed)) == 7, "the parser refuses longer ones"


def test_the_statistics_are_another_view_of_the_same_counts() -> None:
    failed = WON._replace(outcome="failed", error="broken")
    metrics = metrics_of(
        FIRST,
        FIRST._replace(status=500, reason="no_success", calls=(failed, failed)),
        FIRST._replace(status=500, reason="deadline", late_by_ms=1.0, calls=(LOST,)),
        FIRST._replace(
            status=None, reason="client_disconnected", calls=(LOST._replace(outcome="not_started"),)
        ),
        FIRST._replace(status=503, reason="overloaded", endpoint="other", calls=()),
        FIRST._replace(endpoint="other", calls=()),
    )
    before = metrics.statistics()
    for call in ("call 0", "call 1"):
        Observers([metrics]).notify(BugFound("r", call, ValueError(), at=1))
    statistics = metrics.statistics()
    assert statistics.answers == {"200": 2, "500": 2, "503": 1}
    assert statistics.refused == {"overloaded": 1}
    assert statistics.races == {"success": 1, "no_success": 1, "deadline": 1}
    assert statistics.calls == {"success": 1, "broken": 2, "cancelled": 2, "not_started": 1}
    assert statistics.clients_disconnected == 1
    assert statistics.guarantees_broken == BrokenGuarantees(late_answers=1, bugs=2)
    assert before.guarantees_broken.bugs == 0, "a snapshot does not change afterwards"


def test_tasks_that_calls_left_are_counted_by_place_and_those_alive_until_they_end() -> None:
    metrics = metrics_of()
    observers = Observers([metrics])
    for call, place in ((0, "a"), (1, "b"), (1, "b"), (1, "a")):
        observers.notify(TaskLeft("r", call, place, at=1))
    observers.notify(LeftTaskEnded("r", 1, "b", after_s=2, at=3))
    left = {
        (s.labels["call"], s.labels["server_address"], s.labels["place"]): s.value
        for s in samples_of(metrics, "fanout_call_tasks_left_total")
    }
    assert left == {("0", "a.example", "a"): 1, ("1", "b.example", "b"): 2, ("1", "b.example", "a"): 1}
    assert only(metrics, "fanout_call_tasks_left_alive").value == 3
    assert metrics.statistics().tasks_left == {"a": 2, "b": 2}, "of whichever call"
    assert metrics.statistics().tasks_left_alive == 3


def hostile(number: int) -> Receipt:
    """A request of which every word is another one, as if nobody before had checked anything."""
    call = WON._replace(outcome=f"o{number}", error=f"e{number}", status=number, cancel_source=f"s{number}")
    return FIRST._replace(
        request_id=f"id-{number}",
        endpoint=f"/{number}",
        status=number,
        reason=f"r{number}",
        calls=(call,),
    )


def test_the_number_of_series_is_bounded_whatever_comes() -> None:
    metrics = metrics_of(*map(hostile, range(1000)))
    for name in (
        "http_server_request_duration_seconds_count",
        "http_client_request_duration_seconds_count",
        "fanout_calls_total",
        "fanout_answers_total",
    ):
        samples = samples_of(metrics, name)
        assert len(samples) <= MAX_SERIES
        assert sum(s.value for s in samples) == 1000, "nothing is lost"


class Word(str):
    """One that is seen to be forgotten."""


def test_words_beyond_the_bound_are_forgotten() -> None:
    """The look-ups are bounded as the series are: else each new word would cost memory for ever."""
    metrics, kept = metrics_of(), WeakSet[Word]()
    for number in range(1000):
        reason, error = Word(f"reason {number}"), Word(f"error {number}")
        kept.update((reason, error))
        metrics(FIRST._replace(reason=reason, calls=(WON._replace(outcome="failed", error=error),)))
    assert len(kept) <= 4 * MAX_SERIES, "of requests and of calls, in the series and in the look-ups"


def test_what_was_known_before_the_bound_goes_on_being_counted() -> None:
    metrics = metrics_of(FIRST, *map(hostile, range(1000)), FIRST)
    assert only(metrics, "fanout_answers_total", reason="success").value == 2


@pytest.mark.parametrize("count", [0, 1, SAMPLES_PER_TURN, 3 * SAMPLES_PER_TURN + 1])
async def test_a_family_written_in_pieces_reads_as_if_written_at_once(count: int) -> None:
    family = histogram("a_seconds", "Help\nof two lines.", ("label",))
    pieces = list(family.histograms([((f'"{number}\n',), Histogram((0.1,))) for number in range(count)]))
    at_once = Metric(family.name, family.help, "histogram")
    at_once.samples = [sample for piece in pieces for sample in piece.samples]
    numbers = [((f"{number}",), float(number)) for number in range(count)]
    other = gauge("b", "Help.", ("label",)).metric(numbers)

    class Registry(CollectorRegistry):
        def collect(self) -> Any:
            yield from (at_once, other)

    whole = openmetrics.generate_latest(Registry())
    _, body = await expose([*pieces, other], "application/openmetrics-text")
    assert body == whole


async def test_a_scrape_takes_turns_with_the_requests() -> None:
    metrics = metrics_of(*map(hostile, range(1000)))
    samples = sum(len(family.samples) for family in metrics.collect())
    turns = 0

    async def request() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request)
        await expose(metrics.collect(), "")
        nursery.cancel_scope.cancel()
    assert turns >= samples // SAMPLES_PER_TURN > 100


async def test_both_formats_say_the_same_and_each_says_which_it_is() -> None:
    metrics = metrics_of(FIRST)
    classic_type, classic = await expose(metrics.collect(), "text/plain;version=0.0.4")
    modern_type, modern = await expose(
        metrics.collect(), "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    )
    assert classic_type == "text/plain; version=0.0.4; charset=utf-8"
    assert modern_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"

    def numbers(body: bytes) -> set[str]:
        lines = body.decode().splitlines()
        return {line.partition(" # {")[0] for line in lines if not line.startswith("#")}

    assert numbers(classic) == numbers(modern)
    assert b"# {" in modern
    assert b"# {" not in classic
    assert modern.endswith(b"\n# EOF\n")


CATALOGUE = {
    "http_server_request_duration_seconds": (
        "histogram",
        "From the head of a request to the last byte of its answer.",
        {
            "http_request_method": "GET",
            "url_scheme": "https",
            "http_route": "/api/all",
            "http_response_status_code": "500",
            "error_type": "no_success",
        },
    ),
    "http_client_request_duration_seconds": (
        "histogram",
        "From the start of an upstream call to its end, however it ended.",
        {
            "http_request_method": "GET",
            "url_scheme": "https",
            "server_address": "a.example",
            "server_port": "443",
            "http_response_status_code": "503",
            "error_type": "503",
            "fanout_outcome": "failed",
        },
    ),
    "fanout_calls": (
        "counter",
        "Upstream calls by how they ended, and why.",
        {"call": "0", "server_address": "a.example", "outcome": "failed", "reason": "bad_status"},
    ),
    "fanout_answers": (
        "counter",
        "Requests by what their clients received, and why.",
        {"endpoint": "all", "result": "error", "reason": "no_success"},
    ),
    "fanout_call_cancel_to_exit_seconds": (
        "histogram",
        "From the moment an upstream call was cancelled to the moment it was gone.",
        {},
    ),
    "fanout_call_tasks_left": (
        "counter",
        "asyncio tasks that were alive after their call had ended.",
        {"call": "1", "server_address": "b.example", "place": "here"},
    ),
    "fanout_call_tasks_left_alive": (
        "gauge",
        "asyncio tasks that outlived their call and are still alive.",
        {},
    ),
}


def test_the_catalogue_is_what_dashboards_and_alerts_name() -> None:
    """Names, kinds, help and labels: docs/operations.md explains them."""
    metrics = RequestMetrics(UPSTREAMS, scheme="https")
    failed = WON._replace(outcome="failed", error="bad_status", status=503)
    metrics(FIRST._replace(endpoint="all", status=500, reason="no_success", calls=(failed,)))
    metrics.notify(TaskLeft("r", 1, "here", at=1))
    found = {family.name: family for family in metrics.collect()}
    assert {name: (family.type, family.documentation) for name, family in found.items()} == {
        name: row[:2] for name, row in CATALOGUE.items()
    }
    for name, (_, _, labels) in CATALOGUE.items():
        sample = found[name].samples[0]
        assert {key: value for key, value in sample.labels.items() if key != "le"} == labels
        assert [*labels] == [key for key in sample.labels if key != "le"]


def test_the_buckets_are_fine_where_the_upstream_answers_and_a_call_exits() -> None:
    metrics = metrics_of(FIRST)

    def bounds(name: str) -> list[str]:
        return list(dict.fromkeys(s.labels["le"] for s in samples_of(metrics, f"{name}_bucket")))

    assert " ".join(bounds("http_server_request_duration_seconds")) == (
        "0.005 0.025 0.05 0.1 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5 0.55 0.6 0.7 "
        "0.85 1.0 1.5 2.5 5.0 10.0 30.0 +Inf"
    )
    durations = bounds("http_server_request_duration_seconds")
    assert bounds("http_client_request_duration_seconds") == durations
    assert " ".join(bounds("fanout_call_cancel_to_exit_seconds")) == (
        "5e-05 0.0001 0.00025 0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.5 +Inf"
    )


def test_what_is_beyond_the_bound_of_a_family_is_counted_as_other() -> None:
    """Every label says so but those that the settings choose."""
    metrics = metrics_of(*map(hostile, range(1000)))
    for name, beyond in (
        ("http_server_request_duration_seconds_count", {"url_scheme": "http"}),
        ("http_client_request_duration_seconds_count", {}),
        ("fanout_calls_total", {}),
        ("fanout_answers_total", {}),
    ):
        samples = samples_of(metrics, name)
        assert len(samples) == 100
        (other,) = [s for s in samples if s.labels == dict.fromkeys(s.labels, "_OTHER") | beyond]
        assert other.value > 100
    for number in range(200):
        metrics.notify(TaskLeft("r", 0, f"place {number}", at=1))
    left = samples_of(metrics, "fanout_call_tasks_left_total")
    assert (len(left), sum(s.value for s in left)) == (100, 200)
    assert max(left, key=lambda s: s.value).labels == dict.fromkeys(left[0].labels, "_OTHER")


@pytest.mark.parametrize(
    ("endpoint", "method", "route"),
    [
        ("first", "GET", "/api/first"),
        ("all", "GET", "/api/all"),
        ("quorum", "_OTHER", ""),
        ("other", "_OTHER", ""),
    ],
)
def test_a_route_is_one_of_ours(endpoint: str, method: str, route: str) -> None:
    labels = only(
        metrics_of(FIRST._replace(endpoint=endpoint)), "http_server_request_duration_seconds_count"
    ).labels
    assert (labels["http_request_method"], labels["http_route"]) == (method, route)


@pytest.mark.parametrize(
    ("status", "reason", "code", "error"),
    [
        (None, "client_disconnected", "", "client_disconnected"),
        (200, "success", "200", ""),
        (499, "odd", "_OTHER", ""),
        (499 + 1, "internal", "500", "internal"),
        (418, "teapot", "418", ""),
    ],
)
def test_the_status_of_an_answer(status: int | None, reason: str, code: str, error: str) -> None:
    labels = only(
        metrics_of(FIRST._replace(status=status, reason=reason)), "http_server_request_duration_seconds_count"
    ).labels
    assert (labels["http_response_status_code"], labels["error_type"]) == (code, error)


@pytest.mark.parametrize(
    ("changes", "is_measured", "exit_s"),
    [
        ({}, True, None),
        ({"started_at": None}, False, None),
        ({"ended_at": None}, False, None),
        ({"outcome": "not_started"}, False, None),
        ({"cancel_to_exit_ms": 0.0}, True, 0.0),
        ({"cancel_to_exit_ms": 250.0}, True, 0.25),
    ],
)
def test_a_call_is_measured_from_its_start_to_its_end(
    changes: dict[str, Any], is_measured: bool, exit_s: float | None
) -> None:
    metrics = metrics_of(FIRST._replace(calls=(WON._replace(**changes),)))
    assert only(metrics, "fanout_calls_total").value == 1
    measured = [
        sum(s.value for s in samples_of(metrics, f"http_client_request_duration_seconds_{what}"))
        for what in ("count", "sum")
    ]
    assert measured == ([1, 0.25] if is_measured else [0, 0])
    exits = samples_of(metrics, "fanout_call_cancel_to_exit_seconds_count")[0].value
    assert (exits, samples_of(metrics, "fanout_call_cancel_to_exit_seconds_sum")[0].value) == (
        (0, 0) if exit_s is None else (1, exit_s)
    )


def test_exemplars_of_calls_and_exits_are_the_request_too() -> None:
    metrics = metrics_of(FIRST._replace(trace_id="cd" * 16))
    for name in ("http_client_request_duration_seconds_bucket", "fanout_call_cancel_to_exit_seconds_bucket"):
        exemplars = [s.exemplar for s in samples_of(metrics, name) if s.exemplar]
        assert exemplars
        assert {tuple(e.labels.items()) for e in exemplars} == {(("trace_id", "cd" * 16),)}


def test_the_statistics_tell_answers_races_and_calls_apart() -> None:
    late = FIRST._replace(late_by_ms=2.0)
    metrics = metrics_of(
        FIRST,
        FIRST._replace(endpoint="all"),
        late,
        FIRST._replace(endpoint="quorum"),
        FIRST._replace(status=None, reason="client_disconnected"),
        FIRST._replace(status=None, reason="client_disconnected", endpoint="other", calls=()),
        FIRST._replace(status=500, reason="internal", endpoint="other", calls=()),
        FIRST._replace(status=404, reason="not_found", endpoint="other", calls=()),
    )
    statistics = metrics.statistics()
    assert statistics.answers == {"200": 4, "500": 1, "404": 1}
    assert statistics.refused == {"not_found": 1}
    assert statistics.races == {"success": 4}
    assert statistics.calls == {"success": 5, "cancelled": 5}
    assert (statistics.clients_disconnected, statistics.guarantees_broken.late_answers) == (2, 1)
    assert (statistics.tasks_left, statistics.tasks_left_alive) == ({}, 0)


def test_a_histogram_of_many_series_comes_in_pieces_and_one_of_none_comes_too() -> None:
    """A scrape takes turns with the requests, so no piece may be long."""
    family = histogram("a_seconds", "Help.", ("label",))
    for series, pieces in ((0, [0]), (1, [1]), (4, [4]), (5, [4, 1]), (9, [4, 4, 1])):
        found = list(family.histograms([((f"{n}",), Histogram((0.1,))) for n in range(series)]))
        counts = [sum(s.name == "a_seconds_count" for s in piece.samples) for piece in found]
        assert counts == pieces


def test_an_exemplar_fits_into_the_limit_of_openmetrics() -> None:
    """128 characters with its name: `request_id` has ten, `trace_id` has eight."""
    for trace_id, request_id, is_kept in (
        (None, "x" * 118, True),
        (None, "x" * 119, False),
        ("a" * 120, "r", True),
        ("a" * 121, "r", False),
        ("", "r", True),
    ):
        one = Histogram((1.0,))
        one.observe(0.5, trace_id, request_id)
        (row, *_) = one.buckets()
        assert (len(row) == 3) is is_kept
        if len(row) == 3:
            assert row[2].labels == ({"trace_id": trace_id} if trace_id else {"request_id": request_id})
            assert (row[2].value, row[2].timestamp) == (0.5, None)
