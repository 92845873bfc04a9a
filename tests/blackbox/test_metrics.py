"""`/metrics` of the real program: what is exposed, in which words, and that no client can add any."""

from __future__ import annotations

import http.client
import subprocess
from urllib.parse import quote, urlsplit

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fanout.admin import metrics as of_service
from fanout.observe import metrics as of_requests
from fanout.observe.metrics_family import Family
from tests.blackbox.conftest import World, request
from tests.lacking import needs

CATALOGUE = {
    row.name: row
    for module in (of_requests, of_service)
    for row in vars(module).values()
    if isinstance(row, Family)
}


def scrape(world: World, accept: str) -> bytes:
    parts = urlsplit(world.fanout.urls["admin"])
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept})
        response = connection.getresponse()
        assert response.status == 200
        return response.read()
    finally:
        connection.close()


def families(world: World) -> dict[str, Metric]:
    text = scrape(world, "application/openmetrics-text; version=1.0.0").decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def series(found: dict[str, Metric]) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    return {(s.name, frozenset(s.labels.items())) for family in found.values() for s in family.samples}


def value(found: dict[str, Metric], name: str, **labels: str) -> float:
    samples = [s for family in found.values() for s in family.samples if s.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


def test_what_is_exposed_is_the_catalogue(world: World) -> None:
    world.set_slots({"delay_ms": 20}, {"delay_ms": 1})
    world.get("/api/first")
    found = families(world)
    assert {name for name in found if not name.startswith("process_")} == set(CATALOGUE)
    for name, row in CATALOGUE.items():
        assert found[name].documentation == row.help
        for sample in found[name].samples:
            assert set(sample.labels) - {"le"} == set(row.labels), name


def test_a_race_moves_the_counters_of_its_calls(world: World) -> None:
    world.set_slots({"delay_ms": 500}, {"delay_ms": 1})
    before = families(world)
    for _ in range(3):
        assert request(world.fanout.urls["api"], "/api/first").status == 200
    after = families(world)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("fanout_answers_total", endpoint="first", result="useful", reason="success") == 3
    assert grown("fanout_calls_total", call="0", outcome="cancelled", reason="settled") == 3
    assert grown("fanout_calls_total", call="1", outcome="won") == 3
    assert grown("http_client_request_duration_seconds_count", fanout_outcome="cancelled") == 3
    assert grown("fanout_call_cancel_to_exit_seconds_count") == 3
    assert grown("fanout_pool_connections_closed_total", reason="cancelled") == 3
    assert value(after, "fanout_requests_in_flight") == 0


def hostile_requests() -> list[tuple[str, str, dict[str, str]]]:
    """Methods, targets and headers: no two alike."""
    methods = ["GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE", "PURGE", "PROPFIND", "M-SEARCH"]
    labels = ['"} 1\nfanout_evil_total 1', "\\", "é", "{}", "😀"]
    found: list[tuple[str, str, dict[str, str]]]
    found = [(method, f"/{quote(labels[n % 5])}-{n}", {}) for n, method in enumerate(methods * 4)]
    found += [("GET", f"/api/first?timeout=x{n}", {}) for n in range(20)]
    found += [("GET", f"/api/first?timeout={900 + n}", {"X-Request-Id": f"{n:x<128}"}) for n in range(1, 20)]
    found += [("GET", f"/api/all/{n}", {"Host": f"h{n}.example", "User-Agent": f"u{n}"}) for n in range(20)]
    return found


def test_no_client_can_add_a_series(world: World) -> None:
    """A first round shows every status and reason there is; a hundred other requests add nothing."""
    # Which call wins must not be chance: one that wins only in the second round would be a new series.
    world.set_slots({"delay_ms": 1}, {"delay_ms": 400})
    parts = urlsplit(world.fanout.urls["api"])

    def attack(prefix: str) -> dict[str, Metric]:
        for method, target, headers in hostile_requests():
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
            try:
                sent = target.replace("-", prefix).replace("timeout=x", f"timeout={prefix}")
                connection.request(method, sent, headers=headers)
                connection.getresponse().read()
            finally:
                connection.close()
        return families(world)

    before = attack("a")
    after = attack("b")
    assert series(after) - series(before) == set()
    assert "fanout_evil" not in after
    text = scrape(world, "application/openmetrics-text").decode()
    assert "😀" not in text
    assert "example" not in text


@pytest.mark.parametrize(
    "accept", ["", "*/*", "application/openmetrics-text;version=banana", "\\", "a" * 4000]
)
def test_no_accept_header_breaks_a_scrape(world: World, accept: str) -> None:
    assert b"fanout_build_info" in scrape(world, accept)


@needs("promtool")
def test_promtool_finds_nothing_to_say_about_the_metrics(world: World) -> None:
    world.get("/api/first")
    checked = subprocess.run(["promtool", "check", "metrics"], input=scrape(world, ""), capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
