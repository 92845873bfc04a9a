"""What metrics make of receipts: each request counted once, in words that are few whatever is sent."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from fanout.admin.exposition import SAMPLES_PER_TURN, expose
from fanout.observe.metrics import BrokenGuarantees, RequestMetrics, Upstream
from fanout.observe.metrics_family import MAX_SERIES, Histogram, gauge, histogram
from fanout.observe.receipt import CallReceipt, Receipt
from fanout.race.events import BugFound, LeftTaskEnded, TaskLeft

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


def test_a_value_is_in_the_bucket_that_it_is_the_bound_of() -> None:
    histogram = Histogram((0.1, 0.2))
    for value in (0.1, 0.10001, 0.2, 7.0):
        histogram.observe(value, None, "id")
    assert [row[:2] for row in histogram.buckets()] == [("0.1", 1), ("0.2", 3), ("+Inf", 4)]


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
    text = (await expose(metrics.collect(), "application/openmetrics-text")).body.decode()
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
    metrics.notify(BugFound("r", "call 0", ValueError(), at=1))
    statistics = metrics.statistics()
    assert statistics.answers == {"200": 2, "500": 2, "503": 1}
    assert statistics.refused == {"overloaded": 1}
    assert statistics.races == {"success": 1, "no_success": 1, "deadline": 1}
    assert statistics.calls == {"success": 1, "broken": 2, "cancelled": 2, "not_started": 1}
    assert statistics.clients_disconnected == 1
    assert statistics.guarantees_broken == BrokenGuarantees(late_answers=1, bugs=1)
    assert before.guarantees_broken.bugs == 0, "a snapshot does not change afterwards"


def test_tasks_that_calls_left_are_counted_by_place_and_those_alive_until_they_end() -> None:
    metrics = metrics_of()
    for call, place in ((0, "a"), (1, "b"), (1, "b")):
        metrics.notify(TaskLeft("r", call, place, at=1))
    metrics.notify(LeftTaskEnded("r", 1, "b", after_s=2, at=3))
    left = {
        (s.labels["call"], s.labels["server_address"], s.labels["place"]): s.value
        for s in samples_of(metrics, "fanout_call_tasks_left_total")
    }
    assert left == {("0", "a.example", "a"): 1, ("1", "b.example", "b"): 2}
    assert only(metrics, "fanout_call_tasks_left_alive").value == 2
    assert metrics.statistics().tasks_left == {"a": 1, "b": 2}
    assert metrics.statistics().tasks_left_alive == 2


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
    assert (await expose([*pieces, other], "application/openmetrics-text")).body == whole


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
    classic = await expose(metrics.collect(), "text/plain;version=0.0.4")
    modern = await expose(
        metrics.collect(), "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    )
    assert classic.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert modern.content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"

    def numbers(body: bytes) -> set[str]:
        lines = body.decode().splitlines()
        return {line.partition(" # {")[0] for line in lines if not line.startswith("#")}

    assert numbers(classic.body) == numbers(modern.body)
    assert b"# {" in modern.body
    assert b"# {" not in classic.body
    assert modern.body.endswith(b"\n# EOF\n")
