"""From what was counted to the report: each number of a run has one place, one unit and one meaning."""

from __future__ import annotations

import random
import socket
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import httptools
import pytest
import trio

from fanout.tools.load.answer import AnswerReader
from fanout.tools.load.endpoint import ENDPOINTS
from fanout.tools.load.generator import Generator
from fanout.tools.load.histogram import Latencies, MissingExtra, require_hdrhistogram
from fanout.tools.load.outcome import Outcome
from fanout.tools.load.plan import LoadPlan, parsed_mix, parsed_target
from fanout.tools.load.report import Report
from fanout.tools.load.reporting import Course, quantile, report_of
from fanout.tools.load.shot import Draw, Leave, Shot
from fanout.tools.load.tally import Tally
from fanout.tools.load.wire import Wire
from tests.tools.load.scripted import GOOD, answer

PLAN = LoadPlan(
    target=parsed_target("http://a.test:81/base"),
    mix=parsed_mix("first=3,all=1"),
    rate_per_s=7.0,
    arrivals="poisson",
    duration_s=11.0,
    requests=13,
    ramp_s=17.0,
    warmup_s=19.0,
    timeouts_ms=(23, 29),
    allowance_ms=31.0,
    give_up_ms=37.0,
    keep_alive=False,
    max_connections=41,
    hang_up_share=0.43,
    hang_up_within_ms=47.0,
    seed=53,
)
COURSE = Course(
    datetime(2026, 11, 28, 13, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=1))),
    elapsed_s=4.0,
    cpu_s=0.5,
    span_s=2.0,
    ended_early=True,
)


async def report_with(fill: Any, plan: LoadPlan = PLAN, course: Course = COURSE) -> Report:
    """The report of a generator that has launched nothing, and whose accounts are filled by hand."""
    async with trio.open_nursery() as nursery:
        generator = Generator(plan, nursery, lambda: Wire(socket.AF_INET, ("127.0.0.1", 1)), started_at=100.0)
    fill(generator)
    return report_of(generator, course)


def fill(generator: Generator) -> None:
    tally, start = generator.tally, 100.0 + 19.0
    for endpoint, outcome, at, took_s, status, reason in (
        ("first", Outcome.USEFUL, 0.0, 0.1, 200, ""),
        ("first", Outcome.USEFUL, 0.5, 0.2, 200, ""),
        ("first", Outcome.USEFUL, 0.9, 0.4, 200, ""),
        ("all", Outcome.USEFUL, 1.5, 0.3, 200, ""),
        ("all", Outcome.REFUSED, 1.6, 0.05, 503, "overloaded"),
        ("all", Outcome.REFUSED, 1.7, 0.05, 503, "draining"),
        ("first", Outcome.REFUSED, 1.7, 0.05, 503, "overloaded"),
        ("first", Outcome.LATE, 1.8, 2.0, 500, "deadline"),
        ("first", Outcome.MISSING, 1.9, None, 0, ""),
        ("first", Outcome.LEFT, 1.9, None, 0, ""),
        ("all", Outcome.WRONG_BODY, 1.9, 0.1, 200, ""),
    ):
        answered_at = None if took_s is None else start + at + took_s
        tally.record(endpoint, outcome, start + at, start + at + 0.01, answered_at, status, reason)
    tally.unasked_answers = 3
    warmup = generator.warmup_tally
    for outcome in (Outcome.USEFUL, Outcome.LATE, Outcome.BROKEN):
        warmup.record("first", outcome, 100.0, 100.0, None, 0, "")
    generator.launched, generator.late_launches, generator.held_back = 200, 2, 0
    generator.opened, generator.open_peak = 9, 5
    for late_s in (0.001, 0.002, 0.004):
        generator.lateness.record(late_s)


async def test_every_number_of_the_report_is_what_was_counted() -> None:
    report: dict[str, Any] = dict(await report_with(fill))
    latency_ms, spectrum, endpoints = (
        report.pop("latency_ms"),
        report.pop("spectrum"),
        report.pop("endpoints"),
    )
    client, seconds = report.pop("client"), report.pop("seconds")
    assert report == {
        "layout": 1,
        "started_at": "2026-11-28T12:00:00.123+00:00",
        "plan": {
            "url": "http://a.test:81/base",
            "mix": {"first": 3.0, "all": 1.0},
            "rate_per_s": 7.0,
            "arrivals": "poisson",
            "duration_s": 11.0,
            "requests": 13,
            "ramp_s": 17.0,
            "warmup_s": 19.0,
            "timeouts_ms": [23, 29],
            "allowance_ms": 31.0,
            "give_up_ms": 37.0,
            "keep_alive": False,
            "max_connections": 41,
            "hang_up_share": 0.43,
            "hang_up_within_ms": 47.0,
            "seed": 53,
        },
        "ended_early": True,
        "span_s": 2.0,
        "offered": 11,
        "offered_per_s": 5.5,
        "useful": 4,
        "useful_per_s": 2.0,
        "useful_share": 4 / 11,
        "on_time_share": 8 / 10,  # of what was owed an answer: one client left
        "broken_guarantees": 3 + 3,
        "unasked_answers": 3,
        "outcomes": {"useful": 4, "refused": 3, "late": 1, "missing": 1, "wrong_body": 1, "left": 1},
        "statuses": {"200": 5, "500": 1, "503": 3},
        "reasons": {"deadline": 1, "draining": 1, "overloaded": 2},
        "warmup": {"offered": 3, "broken_guarantees": 2},
        "verdict": "broken",
    }
    assert list(report["statuses"]) == sorted(report["statuses"])
    assert list(report["reasons"]) == sorted(report["reasons"])

    assert list(latency_ms) == ["answered", "useful", "refused", "wrong_body", "late"]
    assert {name: pair["from_intended"]["count"] for name, pair in latency_ms.items()} == {
        "answered": 9,
        "useful": 4,
        "refused": 3,
        "wrong_body": 1,
        "late": 1,
    }
    useful = latency_ms["useful"]
    assert useful["from_intended"] == {
        "count": 4,
        "mean": pytest.approx(250),
        "min": pytest.approx(100, rel=2e-3),
        "p50": pytest.approx(200, rel=2e-3),
        "p90": pytest.approx(400, rel=2e-3),
        "p99": pytest.approx(400, rel=2e-3),
        "p99_9": pytest.approx(400, rel=2e-3),
        "p99_99": pytest.approx(400, rel=2e-3),
        "max": pytest.approx(400, rel=2e-3),
    }
    assert useful["from_written"]["mean"] == pytest.approx(240)
    assert latency_ms["answered"]["from_written"]["count"] == 9

    assert list(spectrum) == list(latency_ms)
    points = spectrum["useful"]["points"]
    assert set(points[0]) == {"percentile", "latency_ms", "count"}
    assert (points[0]["count"], points[0]["latency_ms"]) == (1, pytest.approx(100, rel=2e-3))
    assert (points[-1]["percentile"], points[-1]["count"]) == (100.0, 4)
    assert points[-1]["latency_ms"] == pytest.approx(400, rel=2e-3)
    assert spectrum["useful"]["hdr"] != spectrum["late"]["hdr"]

    assert list(endpoints) == ["all", "first"]
    assert {name: (part["offered"], part["outcomes"]) for name, part in endpoints.items()} == {
        "first": (7, {"useful": 3, "refused": 1, "late": 1, "missing": 1, "left": 1}),
        "all": (4, {"useful": 1, "refused": 2, "wrong_body": 1}),
    }
    assert endpoints["first"]["latency_ms"]["useful"]["from_intended"]["count"] == 3
    assert endpoints["all"]["latency_ms"]["answered"]["from_intended"]["count"] == 4

    assert seconds == [
        {
            "second": 0,
            "offered": 3,
            "outcomes": {"useful": 3},
            "p50_ms": pytest.approx(200, rel=1e-5),
            "p99_ms": pytest.approx(400, rel=1e-5),
        },
        {
            "second": 1,
            "offered": 8,
            "outcomes": {"useful": 1, "refused": 3, "late": 1, "missing": 1, "wrong_body": 1, "left": 1},
            "p50_ms": pytest.approx(300, rel=1e-5),
            "p99_ms": pytest.approx(300, rel=1e-5),
        },
    ]

    assert client == {
        "kept_schedule": True,
        "launch_lateness_ms": {
            "p50": pytest.approx(2, rel=2e-3),
            "p99": pytest.approx(4, rel=2e-3),
            "max": pytest.approx(4, rel=2e-3),
        },
        "slack_ms": 5.0,
        "late_launches": 2,
        "late_launch_share": 0.01,
        "held_back": 0,
        "connections_opened": 9,
        "connections_peak": 5,
        "cpu_s": 0.5,
        "cpu_us_per_request": 2500.0,
        "cpu_share": 0.125,
    }


@pytest.mark.parametrize(
    ("outcomes", "unasked", "verdict"),
    [
        ([Outcome.USEFUL], 0, "kept"),
        ([Outcome.USEFUL, Outcome.NOT_CONNECTED, Outcome.REFUSED], 0, "kept"),
        ([Outcome.USEFUL], 1, "broken"),
        ([Outcome.USEFUL, Outcome.LATE], 0, "broken"),
        ([Outcome.MISSING], 0, "broken"),
        ([Outcome.BROKEN], 0, "broken"),
        ([Outcome.MALFORMED], 0, "broken"),
        ([Outcome.WRONG_BODY], 0, "broken"),
        ([Outcome.NOT_CONNECTED], 0, "unreachable"),
        ([Outcome.NOT_CONNECTED, Outcome.REFUSED], 0, "useless"),
        ([Outcome.REFUSED], 0, "useless"),
        ([], 0, "useless"),
    ],
)
async def test_the_verdict_is_the_worst_that_happened(
    outcomes: list[Outcome], unasked: int, verdict: str
) -> None:
    def count(generator: Generator) -> None:
        for outcome in outcomes:
            generator.tally.record("first", outcome, 0.0, 0.0, None, 0, "")
        generator.tally.unasked_answers = unasked

    assert (await report_with(count))["verdict"] == verdict


async def test_a_run_of_nothing_has_shares_of_nothing() -> None:
    course = Course(COURSE.began, elapsed_s=0.0, cpu_s=0.0, span_s=0.0, ended_early=False)
    report = await report_with(lambda generator: None, course=course)
    numbers = [report[key] for key in ("offered_per_s", "useful_per_s", "useful_share", "on_time_share")]
    assert numbers == [0.0] * 4
    assert (report["client"]["cpu_us_per_request"], report["client"]["cpu_share"]) == (0.0, 0.0)
    assert report["latency_ms"]["answered"]["from_intended"] == dict.fromkeys(
        ["count", "mean", "min", "p50", "p90", "p99", "p99_9", "p99_99", "max"], 0
    )


@pytest.mark.parametrize(
    ("ordered", "share", "value"),
    [
        ([], 0.5, 0.0),
        ([7.0], 0.5, 7.0),
        ([1.0, 2.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0.25, 2.0),
        ([1.0, 2.0, 3.0], 1.0, 3.0),
        ([1.0, 2.0, 3.0], 0.0, 1.0),
    ],
)
def test_a_quantile_is_one_of_the_values(ordered: list[float], share: float, value: float) -> None:
    assert quantile(ordered, share) == value


async def test_each_percentile_is_its_own() -> None:
    """Of 10,000 answers, and of a client that launches half of its requests a little later."""

    def fill_many(generator: Generator) -> None:
        start = 100.0 + 19.0
        for count, took_ms in ((5000, 10), (4000, 20), (900, 30), (90, 40), (9, 50), (1, 60)):
            for _ in range(count):
                answered_at = start + took_ms / 1000
                generator.tally.record("first", Outcome.USEFUL, start, start, answered_at, 200, "")
        for late_s in [0.001] * 50 + [0.002] * 50:
            generator.lateness.record(late_s)

    report = await report_with(fill_many)
    found: dict[str, Any] = dict(report["latency_ms"]["useful"]["from_intended"])
    keys = ("p50", "p90", "p99", "p99_9", "p99_99", "max")
    assert [round(found[key]) for key in keys] == [10, 20, 30, 40, 50, 60]
    assert round(report["seconds"][0]["p99_ms"]) == 40
    assert report["client"]["launch_lateness_ms"]["p50"] == pytest.approx(1.0, rel=0.01)


async def test_a_report_says_when_in_utc_wherever_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert (await report_with(fill))["started_at"] == "2026-11-28T12:00:00.123+00:00"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_request_belongs_to_the_second_of_its_intended_start() -> None:
    tally = Tally(10.0)
    tally.record("first", Outcome.USEFUL, 10.999, 11.5, 13.0, 200, "")
    tally.record("first", Outcome.REFUSED, 11.0, 11.0, 11.25, 503, "overloaded")
    tally.record("first", Outcome.BROKEN, 11.0, 11.0, None, 0, "ECONNRESET")
    assert {number: dict(second.outcomes) for number, second in tally.seconds.items()} == {
        0: {Outcome.USEFUL: 1},
        1: {Outcome.REFUSED: 1, Outcome.BROKEN: 1},
    }
    assert [*tally.seconds[0].useful_latencies_s] == [pytest.approx(2.001)]
    assert [*tally.seconds[1].useful_latencies_s] == []
    assert [*tally.recent_useful_s] == [pytest.approx(2.001)]
    useful = tally.accounts["first", Outcome.USEFUL]
    assert (useful.count, useful.from_intended.count) == (1, 1)
    assert useful.from_intended.mean_ms() == pytest.approx(2001)
    assert useful.from_written.mean_ms() == pytest.approx(1500)
    assert tally.accounts["first", Outcome.BROKEN].from_intended.count == 0
    assert (tally.statuses, tally.reasons) == ({200: 1, 503: 1}, {"overloaded": 1, "ECONNRESET": 1})
    assert (tally.settled(), tally.broken_guarantees()) == (3, 1)
    tally.unasked_answers += 2
    assert tally.broken_guarantees() == 3


def test_the_live_figures_are_of_the_latest_answers() -> None:
    tally = Tally(0.0)
    for number in range(2001):
        tally.record("first", Outcome.USEFUL, 0.0, 0.0, float(number), 200, "")
    assert (len(tally.recent_useful_s), tally.recent_useful_s[0]) == (2000, 1.0)


# Answers, byte by byte


def test_an_answer_is_whole_when_its_last_byte_has_come() -> None:
    reader = AnswerReader()
    data = answer(503, b"sorry", b"Connection: close")
    for place in range(len(data)):
        assert (reader.complete, reader.status, reader.body) == (False, 0, b"")
        reader.feed(data[place : place + 1])
    assert (reader.complete, reader.extra) == (True, False)
    assert (reader.status, reader.body, reader.keep_alive) == (503, b"sorry", False)


def test_a_reader_is_ready_for_the_next_answer() -> None:
    reader = AnswerReader()
    reader.feed(answer(200))
    assert (reader.status, reader.body, reader.keep_alive) == (200, GOOD, True)
    reader.clear()
    state = reader.complete, reader.extra, reader.status, reader.body, reader.keep_alive
    assert state == (False, False, 0, b"", False)
    reader.feed(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert (reader.complete, reader.extra, reader.status) == (False, False, 0)
    reader.feed(answer(404, b"no"))
    assert (reader.complete, reader.extra, reader.status, reader.body) == (True, False, 404, b"no")


def test_of_two_answers_the_first_counts_and_the_other_is_extra() -> None:
    reader = AnswerReader()
    reader.feed(answer(200, b"one"))
    reader.feed(answer(500, b"two", b"Connection: close"))
    assert (reader.extra, reader.status, reader.body, reader.keep_alive) == (True, 200, b"one", True)


def test_an_answer_without_a_length_is_never_whole_and_no_http_raises() -> None:
    reader = AnswerReader()
    reader.feed(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD)
    assert not reader.complete
    with pytest.raises(httptools.HttpParserError):
        AnswerReader().feed(b"SSH-2.0\r\n")


# What is sent


def plan_of(mix: str = "first", **options: Any) -> LoadPlan:
    return LoadPlan(target=parsed_target("http://a.test:81/base"), mix=parsed_mix(mix), **options)


@pytest.mark.parametrize(("keep_alive", "more"), [(True, ""), (False, "Connection: close\r\n")])
def test_a_request_is_one_that_any_server_takes(keep_alive: bool, more: str) -> None:
    shot = Draw(plan_of("all", timeouts_ms=(250,), keep_alive=keep_alive)).shot()
    assert (shot.endpoint, shot.timeout_ms) == (ENDPOINTS["all"], 250)
    assert shot.request.decode() == (
        "GET /base/api/all?timeout=250 HTTP/1.1\r\nHost: a.test:81\r\nUser-Agent: fanout-load\r\n"
        f"Accept: application/json\r\n{more}\r\n"
    )


def test_kinds_of_requests_are_drawn_by_weight_and_by_the_seed() -> None:
    """Every timeout of an endpoint is as likely as the others."""
    plan = plan_of("first=3,all=1", timeouts_ms=(100, 200), seed=7)
    draw, again = Draw(plan), Draw(plan)
    shots = [draw.shot() for _ in range(4000)]
    assert shots == [again.shot() for _ in range(4000)]
    dice, kinds = random.Random(7), draw._shots
    assert [(kind.endpoint.name, kind.timeout_ms) for kind in kinds] == [
        *(("first", 100), ("first", 200), ("all", 100), ("all", 200)),
    ]

    def drawn() -> Shot:
        at = dice.random() * 8
        return kinds[0] if at < 3 else kinds[1] if at < 6 else kinds[2] if at < 7 else kinds[3]

    assert shots == [drawn() for _ in range(4000)]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_clients_leaves_within_the_time_by_fin_or_rst(share: float) -> None:
    draw, dice = Draw(plan_of(hang_up_share=share, hang_up_within_ms=400.0, seed=3)), random.Random(3)

    def expected() -> Leave | None:
        if share == 0 or dice.random() >= share:
            return None
        return Leave(dice.uniform(0, 0.4), reset=dice.random() < 0.5)

    leaves = [draw.leave() for _ in range(400)]
    assert leaves == [expected() for _ in range(400)]
    assert sum(leave is not None for leave in leaves) == pytest.approx(share * 400, abs=40)


def test_who_stays_draws_nothing() -> None:
    """So that a plan without leaving draws the same requests as before."""
    plan = plan_of("first,all", seed=5)
    draw, other = Draw(plan), Draw(plan)
    assert draw.leave() is None
    assert [draw.shot() for _ in range(50)] == [other.shot() for _ in range(50)]


def test_one_kind_of_request_is_not_drawn_and_two_are() -> None:
    """With one kind of request, the seed alone decides which clients disconnect."""
    plan = plan_of(hang_up_share=0.5, seed=5)
    draw, other = Draw(plan), Draw(plan)
    leaves = [draw.leave() for _ in range(50)]
    assert leaves == [other.leave() for _ in range(50) if other.shot().endpoint.name == "first"]
    both = Draw(plan_of("first,all", seed=5))
    assert {both.shot().endpoint.name for _ in range(50)} == {"first", "all"}


def test_each_request_counts_once_in_every_account() -> None:
    tally = Tally(started_at=100.0)
    for reason in ("overloaded", "draining", "overloaded"):
        tally.record("first", Outcome.REFUSED, 101.5, 101.5, 101.6, 503, reason)
    assert tally.outcomes == tally.seconds[1].outcomes == {Outcome.REFUSED: 3}
    assert {key: account.count for key, account in tally.accounts.items()} == {("first", Outcome.REFUSED): 3}
    assert (tally.statuses, tally.reasons) == ({503: 3}, {"overloaded": 2, "draining": 1})


def test_latencies_are_in_milliseconds_and_can_be_added() -> None:
    one, two = Latencies(), Latencies()
    for seconds in (0.001, 0.002, 0.003):
        one.record(seconds)
    two.record(0.010)
    one.add(two)
    assert (one.count, one.min_ms()) == (4, 1.0)
    assert one.mean_ms() == pytest.approx(4.0)
    assert one.max_ms() == pytest.approx(10.0, rel=2e-3)
    assert one.at(50) == pytest.approx(2.0, rel=2e-3)
    points = list(one.spectrum())
    assert points[0] == pytest.approx((0.0, 1.0, 1), rel=2e-3)
    assert points[-1] == pytest.approx((100.0, 10.0, 4), rel=2e-3)
    empty = Latencies()
    assert (empty.count, empty.at(50), empty.mean_ms(), empty.min_ms(), empty.max_ms()) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("seconds", "ms"),
    [(0.0, 0.001), (-1.0, 0.001), (1e-6, 0.001), (2e-6, 0.002), (600.0, 600_000.0), (1e9, 600_000.0)],
)
def test_what_is_out_of_range_is_kept_at_its_edge(seconds: float, ms: float) -> None:
    latencies = Latencies()
    latencies.record(seconds)
    assert latencies.min_ms() == pytest.approx(ms, rel=2e-3)


@pytest.mark.parametrize(("seconds", "ms"), [(0.001, 1.0), (0.0015, 1.5), (0.002_047_999, 2.047)])
def test_what_three_digits_can_hold_is_exact(seconds: float, ms: float) -> None:
    latencies = Latencies()
    latencies.record(seconds)
    assert (latencies.min_ms(), latencies.at(50), latencies.max_ms()) == (ms, ms, ms)
    assert [point[1] for point in latencies.spectrum()] == [ms] * len(list(latencies.spectrum()))


def test_without_the_package_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    require_hdrhistogram()
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fanout-server\[load\]'"):
        require_hdrhistogram()
