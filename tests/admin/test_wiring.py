"""What is shown is what is meant: each number of `/metrics`, `/statistics` and `/live` comes from its field.

The tables below are written by hand, and the statistics have a different value in every field. So two wires
that are swapped, a unit that is missing, or a field that is shown nowhere makes a test fail.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from trio.testing import MockClock

import fanout
from fanout.admin import live as live_page
from fanout.admin.app import make_admin
from fanout.admin.live.feed import LiveFeed
from fanout.admin.live.vitals import vitals
from fanout.admin.metrics import families
from fanout.admin.statistics import ServiceStatistics
from fanout.config import load
from fanout.observe.metrics import RequestMetrics
from fanout.process.resources import open_transport
from fanout.process.service import Service
from fanout.race.events import CallEnded, RaceStarted
from fanout.server.asgi import Receive, Scope, Send
from fanout.upstream.statistics import OriginStatistics
from tests.admin.chromium import open_page
from tests.admin.distinct import Values, distinct, leaves
from tests.admin.live_app import admin, make_live
from tests.admin.live_page import text_of
from tests.admin.live_receipts import receipt
from tests.lacking import needs
from tests.server.serving import get, in_memory, on_socket

STATIC = Path(live_page.__file__).parent / "static"
POOL_LIMIT = 77
MS = 1 / 1000  # in seconds

# Of each sample, the fields that it is the sum of, each times a factor. `{n}`: of both origins or names.
METRICS: dict[str, dict[str, float]] = {
    "fanout_draining": {"draining": 1},
    "fanout_worker_restarts_total": {"restarts": 1},
    'fanout_guarantees_broken_total{guarantee="late_answer"}': {"requests.guarantees_broken.late_answers": 1},
    'fanout_guarantees_broken_total{guarantee="bug"}': {"requests.guarantees_broken.bugs": 1},
    'fanout_guarantees_broken_total{guarantee="leaked_task"}': {"leak_check.leaked_tasks": 1},
    'fanout_guarantees_broken_total{guarantee="leaked_connection"}': {"leak_check.leaked_connections": 1},
    'fanout_guarantees_broken_total{guarantee="leaked_permit"}': {"leak_check.leaked_permits": 1},
    "fanout_requests_in_flight": {"admission.in_flight": 1},
    "fanout_requests_in_flight_limit": {"admission.limit": 1},
    "fanout_requests_admitted_total": {"admission.admitted": 1},
    "fanout_requests_refused_unparsed_total": {"overload.refused": 1},
    "fanout_requests_malformed_total": {"connections.malformed": 1},
    "fanout_reserve_seconds": {"overload.reserve_ms": MS},
    'fanout_connections{state="waiting"}': {"connections.waiting": 1},
    'fanout_connections{state="busy"}': {"connections.busy": 1},
    "fanout_connections_accepted_total": {"connections.accepted": 1},
    'fanout_connections_ended_total{reason="one-of-connections.ended"}': {
        "connections.ended[one-of-connections.ended]": 1
    },
    'fanout_connections_ended_total{reason="two-of-connections.ended"}': {
        "connections.ended[two-of-connections.ended]": 1
    },
    'fanout_pool_connections{origin="upstream.origins.{n}.origin",state="idle"}': {
        "upstream.origins.{n}.idle": 1
    },
    'fanout_pool_connections{origin="upstream.origins.{n}.origin",state="in_use"}': {
        "upstream.origins.{n}.in_use": 1,
        "upstream.origins.{n}.connecting": -1,
    },
    'fanout_pool_connections{origin="upstream.origins.{n}.origin",state="connecting"}': {
        "upstream.origins.{n}.connecting": 1
    },
    'fanout_pool_connections_created_total{origin="upstream.origins.{n}.origin"}': {
        "upstream.origins.{n}.opened": 1
    },
    (
        'fanout_pool_connections_closed_total{origin="upstream.origins.{n}.origin",'
        'reason="one-of-upstream.origins.{n}.closed"}'
    ): {"upstream.origins.{n}.closed[one-of-upstream.origins.{n}.closed]": 1},
    (
        'fanout_pool_connections_closed_total{origin="upstream.origins.{n}.origin",'
        'reason="two-of-upstream.origins.{n}.closed"}'
    ): {"upstream.origins.{n}.closed[two-of-upstream.origins.{n}.closed]": 1},
    'fanout_pool_calls_reused_total{origin="upstream.origins.{n}.origin"}': {
        "upstream.origins.{n}.reused": 1
    },
    'fanout_pool_retries_total{origin="upstream.origins.{n}.origin"}': {"upstream.origins.{n}.retries": 1},
    'fanout_pool_connects_failed_total{origin="upstream.origins.{n}.origin"}': {
        "upstream.origins.{n}.failed_connects": 1
    },
    'fanout_pool_connects_cancelled_total{origin="upstream.origins.{n}.origin"}': {
        "upstream.origins.{n}.cancelled_connects": 1
    },
    'fanout_resolver_look_ups_total{name="upstream.names.{n}.name"}': {"upstream.names.{n}.look_ups": 1},
    'fanout_resolver_look_ups_failed_total{name="upstream.names.{n}.name"}': {
        "upstream.names.{n}.failures": 1
    },
    'fanout_resolver_addresses{name="upstream.names.{n}.name"}': {"upstream.names.{n}.addresses": 1},
    'fanout_resolver_addresses_tried_last{name="upstream.names.{n}.name"}': {
        "upstream.names.{n}.tried_last": 1
    },
    'fanout_resolver_addresses_passed_over_total{name="upstream.names.{n}.name"}': {
        "upstream.names.{n}.passed_over": 1
    },
    'fanout_resolver_address_age_seconds{name="upstream.names.{n}.name"}': {"upstream.names.{n}.age_s": 1},
    "fanout_loop_lateness_seconds": {"loop.lateness_ms": MS},
    "fanout_loop_usual_iteration_seconds": {"loop.usual_iteration_ms": MS},
    "fanout_loop_worst_iteration_seconds": {"loop.worst_iteration_ms": MS},
    "fanout_loop_iterations_total": {"loop.passes": 1},
    "fanout_tasks": {"loop.tasks": 1},
    "fanout_log_lines_written_total": {"logs.written": 1},
    "fanout_log_lines_dropped_total": {"logs.dropped": 1},
    'fanout_spans_total{result="delivered"}': {"traces.spans_delivered": 1},
    'fanout_spans_total{result="dropped"}': {"traces.spans_dropped": 1},
    'fanout_spans_total{result="failed"}': {"traces.spans_failed": 1},
}
NOT_IN_METRICS = {
    "uptime_s": "process_start_time_seconds says it",
    "admission.peak_in_flight": "Prometheus keeps the maximum of fanout_requests_in_flight",
    "admission.refused": "fanout_answers_total{reason=overloaded}, made from receipts",
    "connections.open": "the sum of fanout_connections",
    "connections.requests": "http_server_request_duration_seconds_count, made from receipts",
    "connections.refused": "fanout_requests_refused_unparsed_total: the hook and the driver count the same",
    "connections.crashes": "each is a bug: fanout_guarantees_broken_total{guarantee=bug}",
    "connections.draining": "fanout_draining",
    "requests.answers": "fanout_answers_total, made from receipts",
    "requests.refused": "fanout_answers_total, made from receipts",
    "requests.races": "fanout_answers_total, made from receipts",
    "requests.calls": "fanout_calls_total, made from receipts",
    "requests.clients_disconnected": "fanout_answers_total{result=left}, made from receipts",
    "requests.tasks_left": "fanout_call_tasks_left_total, made from what calls report",
    "requests.tasks_left_alive": "fanout_call_tasks_left_alive, made from what calls report",
    "loop.runnable": "of the iteration in which it is asked: no series of it means anything",
    "upstream.origins.{n}.open": "the sum of the idle and in_use of fanout_pool_connections",
    "upstream.names.{n}.last_error": "a text",
    "traces.requests_sampled": "the collector's own matter",
    "traces.spans_waiting": "between two exports: it says nothing when it is scraped",
    "leak_check.requests": "a count for tests of the leak check itself",
    "leak_check.tasks_spawned": "a count for tests of the leak check itself",
    "leak_check.tasks_ended": "a count for tests of the leak check itself",
    "leak_check.tasks_alive": "a count for tests of the leak check itself",
    "logs.waiting": "between two batches: it says nothing when it is scraped",
}
LABELS = {"version", "upstream.origins.{n}.origin", "upstream.names.{n}.name"}

# The same for a sample of `/live`. The last two are rules, held further below.
VITALS: dict[str, dict[str, float]] = {
    "uptime_s": {"uptime_s": 1},
    "draining": {"draining": 1},
    "in_flight": {"admission.in_flight": 1},
    "limit": {"admission.limit": 1},
    "refused_unread": {"overload.refused": 1},
    "tasks": {"loop.tasks": 1},
    "late_ms": {"loop.lateness_ms": 1},
    "pass_ms": {"loop.usual_iteration_ms": 1},
    "pool_in_use": {"upstream.origins.0.in_use": 1, "upstream.origins.1.in_use": 1},
    "pool_idle": {"upstream.origins.0.idle": 1, "upstream.origins.1.idle": 1},
    "late_answers": {"requests.guarantees_broken.late_answers": 1},
    "bugs": {"requests.guarantees_broken.bugs": 1},
}
BOARD = {"pool_is_whole", "is_within_limit"}


def statistics(**changes: Any) -> ServiceStatistics:
    made: ServiceStatistics = distinct(ServiceStatistics)
    return replace(made, **changes)


def expanded(table: Mapping[str, Any]) -> dict[str, Any]:
    """With both values of `{n}`."""
    text = json.dumps(dict(table))
    return {key: value for n in "01" for key, value in json.loads(text.replace("{n}", n)).items()}


def sums(table: Mapping[str, dict[str, float]], values: Values) -> Values:
    return {
        name: pytest.approx(sum(values[path] * factor for path, factor in fields.items()), rel=1e-9)
        for name, fields in expanded(table).items()
    }


async def shown_by_admin(shown: ServiceStatistics, path: str, *fields: str) -> str:
    """The body of what the admin listener answers for a service with these statistics."""
    requests = RequestMetrics([], scheme="http")

    async def caught_up(turn: Any) -> None:
        await turn()

    app = make_admin(
        load({}, {}).settings,
        lambda: True,
        lambda: shown,
        lambda: families(requests, shown, pool_limit=POOL_LIMIT),
        caught_up,
        trio.lowlevel.checkpoint,
        {},
    )
    async with in_memory(app) as world:
        status, _, body = await world.connect().ask(get(path, *fields))
    assert status == 200
    return body.decode()


# --- /metrics


@pytest.mark.parametrize("draining", [True, False])
async def test_each_sample_of_the_metrics_is_its_fields(draining: bool, autojump_clock: MockClock) -> None:
    shown = statistics(draining=draining)
    accept = "Accept: application/openmetrics-text"
    text = await shown_by_admin(shown, "/metrics", accept)
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    of_receipts = ("http_", "fanout_answers", "fanout_call_", "fanout_calls", "process_")
    found = {name: value for name, value in found.items() if not name.startswith(of_receipts)}
    assert found.pop("fanout_pool_connections_limit") == POOL_LIMIT
    build = f'fanout_build_info{{python_version="{platform.python_version()}",version="version"}}'
    assert found.pop(build) == 1
    assert found == sums(METRICS, leaves(shown))


def test_each_field_is_a_metric_or_it_is_said_why_not() -> None:
    shown = {path for fields in expanded(METRICS).values() for path in fields}
    left_out = set(expanded(NOT_IN_METRICS)) | set(expanded(dict.fromkeys(LABELS)))
    fields = {path if path in shown else path.partition("[")[0] for path in leaves(statistics())}
    assert fields - shown - left_out == set(), "shown nowhere"
    assert shown & left_out == set(), "shown, and said not to be"
    assert left_out - fields == set(), "there is no such field any more"


async def test_what_is_not_looked_at_is_not_shown_as_zero(autojump_clock: MockClock) -> None:
    shown = statistics(leak_check=None, logs=None, traces=None)
    text = await shown_by_admin(shown, "/metrics")
    for name in ('fanout_guarantees_broken_total{guarantee="leaked_', "fanout_log_lines_", "fanout_spans_"):
        assert [line for line in text.splitlines() if line.startswith(name)] == []


# --- /statistics


async def test_each_member_of_the_statistics_is_its_field(autojump_clock: MockClock) -> None:
    shown = statistics()
    told = json.loads(await shown_by_admin(shown, "/statistics"))

    def members(value: Any, path: str = "") -> Values:
        if isinstance(value, dict):
            parts = {f"{path}.{key}".lstrip("."): each for key, each in value.items()}
        elif isinstance(value, list) and not all(isinstance(each, str) for each in value):
            parts = {f"{path}.{place}": each for place, each in enumerate(value)}
        else:
            return {path: len(value) if isinstance(value, list) else value}
        return {key: each for name, part in parts.items() for key, each in members(part, name).items()}

    expected = {path.replace("[", ".").replace("]", ""): value for path, value in leaves(shown).items()}
    assert members(told) == expected


async def test_each_part_of_the_statistics_comes_from_the_part_of_the_service(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(
        load({}, {}).settings, max_in_flight=123, upstreams=("http://a/x", "http://b/x", "http://c/x")
    )
    service = Service(settings, open_transport(settings), restarts=5)
    observation = service._observation
    made = statistics()
    parts = {
        "admission": service._admission,
        "overload": service._public.load_shedder,
        "connections": service._public.driver,
        "requests": observation.metrics,
        "loop": observation.watch,
        "upstream": service._transport,
        "leak_check": observation.leak_check,
    }
    for name, part in parts.items():
        monkeypatch.setattr(part, "statistics", partial(getattr, made, name))
    monkeypatch.setattr(observation, "tracing", SimpleNamespace(statistics=lambda: made.traces))
    writer = SimpleNamespace(statistics=lambda: made.logs)
    monkeypatch.setattr(observation, "logs", SimpleNamespace(writer=writer))
    assert service.statistics().uptime_s == 0
    service._started_at = trio.current_time()
    await trio.sleep(12.5)
    shown = service.statistics()
    (limit,) = [f.samples[0].value for f in service._families() if f.name == "fanout_pool_connections_limit"]
    assert shown == replace(made, version=fanout.__version__, uptime_s=12.5, draining=False, restarts=5)
    assert limit == 3 * 123 == open_transport(settings)._max_connections
    service._public.is_shutting_down = True
    assert service.statistics().draining


# --- /live


def test_each_vital_sign_is_its_fields() -> None:
    shown = statistics()
    told = vitals(shown)
    assert {name: told[name] for name in told if name not in BOARD} == sums(VITALS, leaves(shown))
    assert set(told) == set(VITALS) | BOARD


WHOLE = OriginStatistics("a", 5, 2, 7, 4, 9, 0, 0, 0, 0, {"broken": 3, "peer": 1})


@pytest.mark.parametrize(
    ("changes", "is_whole"),
    [
        ({}, True),
        ({"idle": 3}, False),
        ({"idle": 1}, False),
        ({"in_use": 8}, False),
        ({"connecting": 5}, False),
        ({"opened": 10}, False),
        ({"opened": 8}, False),
        ({"closed": {"broken": 3}}, False),
    ],
)
def test_a_pool_is_whole_when_every_connection_is_accounted_for(
    changes: dict[str, Any], is_whole: bool
) -> None:
    """G7, of each origin."""
    for origins in ((replace(WHOLE, **changes), WHOLE), (WHOLE, replace(WHOLE, **changes))):
        upstream = replace(statistics().upstream, origins=origins)
        assert vitals(statistics(upstream=upstream))["pool_is_whole"] is is_whole


@pytest.mark.parametrize(("in_flight", "is_kept"), [(0, True), (9, True), (10, True), (11, False)])
async def test_more_requests_in_flight_than_the_limit_break_g8_on_the_board(
    in_flight: int, is_kept: bool, autojump_clock: MockClock
) -> None:
    """G8. Requests that are shed show that it is kept; the count of those in flight can only break it."""
    admission = replace(statistics().admission, in_flight=in_flight, limit=10)
    upstream = replace(statistics().upstream, origins=(WHOLE,))
    shown = statistics(admission=admission, upstream=upstream)
    feed = LiveFeed(lambda: vitals(shown), list, dict)
    viewer = feed.join()
    assert viewer is not None
    feed.consume(receipt(status=503, reason="overloaded", calls=()))
    feed.consume(receipt())
    await feed.publish(with_sample=True)
    viewer.receive_nowait()
    sample = json.loads(viewer.receive_nowait().split(b"data: ")[1])["sample"]
    assert sample["guarantees"]["G8"] == [1, int(not is_kept)]
    assert sample["guarantees"]["G7"] == [1, 0]
    assert (sample["in_flight"], sample["limit"]) == (in_flight, 10)
    assert BOARD.isdisjoint(sample)


async def test_the_core_makes_events_for_the_page_only_while_somebody_watches(
    autojump_clock: MockClock,
) -> None:
    """Nobody pays for a page that nobody looks at, not even after somebody has."""
    settings = load({}, {}).settings
    service = Service(settings, open_transport(settings))
    feed, observer = service._observation.live.feed, service._observation.observer
    for _ in range(2):
        assert not {RaceStarted, CallEnded} & set(observer.interests)
        viewer = feed.join()
        assert viewer is not None
        assert {RaceStarted, CallEnded} <= set(observer.interests)
        feed.leave(viewer)
        await feed.publish()


# A sample of the stream, and what the page makes of it. The rates are the mean of the last samples.
BEFORE: dict[str, Any] = {
    "at_ms": 1000.0,
    "answered_rate": 100.0,
    "failed_rate": 20.0,
    "refused_rate": 3.0,
    "left_rate": 4000.0,
    "p50_ms": 51.2,
    "p99_ms": 92.4,
    "uptime_s": 1.5,
    "draining": False,
    "in_flight": 7,
    "limit": 9,
    "refused_unread": 50,
    "tasks": 13,
    "late_ms": 8.4,
    "pass_ms": 0.3,
    "pool_in_use": 11,
    "pool_idle": 12,
    "late_answers": 6,
    "bugs": 5,
    "viewers": 1,
    "guarantees": {f"G{number}": [100 + number, 0] for number in range(1, 9)},
}
AFTER = BEFORE | {
    "at_ms": 1500.0,
    "refused_unread": 30_050,
    "late_ms": 14_690.5,
    "draining": True,
    "guarantees": {f"G{number}": [100 + number, 20 + number] for number in range(1, 9)},
}
NOT_ON_THE_PAGE = {
    "uptime_s": "for programs that read the stream",
    "tasks": "for programs that read the stream",
    "pass_ms": "for programs that read the stream",
    "viewers": "for programs that read the stream",
}
SIGNS = {  # in the head of each chart, and at the pointer
    "Requests per second": ("34,123 /s", "all 34,123 answered 100 failed 20 rejected 30,003"),
    "Latency of answers": ("51 / 92 ms", "p50 51 p99 92"),
    "In flight": ("7 of 9", "requests 7"),
    "Event-loop lag": ("14691 ms", "longest recent iteration 14,691"),
    "Upstream connections": ("11 / 12 in use / idle", "in use 11 idle 12"),
}


async def test_a_sample_has_the_members_that_the_page_is_held_to(autojump_clock: MockClock) -> None:
    feed = LiveFeed(lambda: vitals(statistics()), list, dict)
    viewer = feed.join()
    assert viewer is not None
    await feed.publish(with_sample=True)
    viewer.receive_nowait()
    sample = json.loads(viewer.receive_nowait().split(b"data: ")[1])["sample"]
    assert sample.keys() == BEFORE.keys() == AFTER.keys()
    assert sample["guarantees"].keys() == BEFORE["guarantees"].keys()
    scripts = "".join(file.read_text("utf-8") for file in STATIC.glob("*.js") if file.name != "uplot.js")
    used = {name for name in sample if re.search(rf"\b(?:s|sample)\.{name}\b", scripts)}
    assert set(sample) - used == set(NOT_ON_THE_PAGE)


@needs("chromium")
@pytest.mark.same_on_every_python
async def test_the_page_shows_each_number_of_a_sample_in_its_place() -> None:
    """The charts, their heads and the board, as text."""
    go_on = trio.Event()
    now = {"now_ms": 1500.0, "unix_ms": 1_700_000_000_000.0}

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        """Two messages, one after the other."""
        if scope["path"] != "/live/events":
            await pages(scope, receive, send)
            return
        fields = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        greeting = {
            **now,
            "rows": [],
            "about": {"version": "1", "demo": None, "upstreams": []},
            "samples": [],
        }
        first, second = ({**now, "rows": [], "left_out": 0, "sample": each} for each in (BEFORE, AFTER))
        for event, value in (("greeting", greeting), ("batch", first), ("batch", second)):
            if value is second:
                await go_on.wait()
            body = f"event: {event}\ndata: {json.dumps(value)}\n\n".encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await trio.sleep_forever()

    pages = make_live().around(admin)
    async with on_socket(stream) as world, open_page() as page:
        await page.open(f"http://127.0.0.1:{world.port}/live")
        await page.wait_until("document.querySelector('#guarantees').textContent.includes('108 requests')")
        before = await text_of(page, "#guarantees")
        lag = await text_of(page, "#vitals figure:nth-child(4) .value")
        go_on.set()
        await page.wait_until("document.querySelector('#connection').dataset.state === 'draining'")
        after = await text_of(page, "#guarantees")
        signs = {}
        for number in range(1, 1 + len(SIGNS)):
            figure = f"#vitals figure:nth-child({number})"
            await page.evaluate(
                f"(() => {{ const plot = document.querySelector('{figure} .u-over');"
                "const box = plot.getBoundingClientRect();"
                "const at = {bubbles: true, clientX: box.right - 0.5, clientY: box.top + 9};"
                "for (const kind of ['mouseenter', 'mousemove'])"
                " plot.dispatchEvent(new MouseEvent(kind, at)); })()"
            )
            await page.wait_until(f"!document.querySelector('{figure} .tip').hidden")
            head, _, _ = (await text_of(page, f"{figure} .value")).partition(" max ")
            at_pointer = (await text_of(page, f"{figure} .tip")).partition(" ")[2]
            signs[await text_of(page, f"{figure} figcaption")] = head, at_pointer
        assert page.complaints == []
    assert lag.startswith("8.4 ms")
    assert signs == SIGNS
    for number in range(1, 9):
        assert f" G{number} " in before
        assert re.search(rf"✓ G{number} [^✓✕]*? {100 + number} requests", before)
        assert re.search(rf"✕ G{number} [^✓✕]*? broken: {20 + number} requests", after)
    assert "✕" not in before
    assert "G9 graceful shutdown held by tests" in before
    assert "G9 graceful shutdown 7 left" in after
    assert "G11 bugs are loud 5 reported" in before
    assert after.endswith("6 late answers, 5 bugs.")
