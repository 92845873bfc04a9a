"""What operators are given is held to the code: metrics, rules, dashboard, runbook."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import PROCESS_COLLECTOR

from fanout.admin import metrics as of_service
from fanout.config import load
from fanout.observe import metrics as of_requests
from fanout.observe.log_writer import LAST_LINES_S
from fanout.observe.metrics_family import MAX_SERIES, Family
from fanout.process.composition import GRACE_MARGIN_S
from fanout.process.service import ADMIN_GRACE_S
from fanout.process.workers import STUCK_MARGIN_S
from tests.lacking import needs

pytestmark = pytest.mark.same_on_every_python

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "deploy/observability"
OPERATIONS = (ROOT / "docs/operations.md").read_text()
RULES_TEXT = (OBSERVABILITY / "rules/fanout.yml").read_text()
RULES: list[dict[str, Any]] = [r for group in yaml.safe_load(RULES_TEXT)["groups"] for r in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
CATALOGUE = [
    row for module in (of_requests, of_service) for row in vars(module).values() if isinstance(row, Family)
]
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}


def kind_of(row: Family) -> str:
    """In Prometheus' word."""
    return str(row.make(row.name, row.help).type)


def exposed_names() -> set[str]:
    """Every sample name that `/metrics` can have, and the two that Prometheus adds."""
    ours = {row.name + suffix for row in CATALOGUE for suffix in SUFFIXES[kind_of(row)]}
    of_the_process = {s.name for family in PROCESS_COLLECTOR.collect() for s in family.samples}
    return ours | of_the_process | {"up", "ALERTS"}


def test_the_table_of_metrics_is_the_catalogue() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (counter|gauge|histogram) \| (.*?) ?\| ", OPERATIONS, re.MULTILINE)
    documented = {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert len(rows) > 30
    assert documented == {
        (row.name + ("_total" if kind_of(row) == "counter" else ""), kind_of(row), row.labels)
        for row in CATALOGUE
    }
    assert f"at most {MAX_SERIES} sets of label" in " ".join(OPERATIONS.split())
    for name in (s.name for family in PROCESS_COLLECTOR.collect() for s in family.samples):
        assert f"`{name}`" in OPERATIONS


def dashboard_queries() -> list[str]:
    panels = json.loads((OBSERVABILITY / "grafana/fanout.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def spans_of_code() -> list[str]:
    return re.findall("`([^`\n]+)`", re.sub("```.*?```", "", OPERATIONS, flags=re.DOTALL))


@pytest.mark.parametrize(
    "queries",
    [[rule["expr"] for rule in RULES], dashboard_queries(), spans_of_code()],
    ids=["rules", "dashboard", "document"],
)
def test_only_metrics_that_exist_are_asked_for(queries: list[str]) -> None:
    # A name in braces, quotes or before a parenthesis is a label, a value or a function.
    bare = [re.sub(r'"[^"]*"|\{[^}]*\}', "", query) for query in queries]
    words = {word for query in bare for word in re.findall(r"\b[a-zA-Z_][\w:]*\b", query)}
    names = {word for word in words if re.match(r"(fanout|http|process)_|fanout:\w", word)}
    labels = {label for row in CATALOGUE for label in row.labels}
    families = {row.name for row in CATALOGUE}
    assert len(names) > 10
    assert names - labels <= exposed_names() | RECORDED | families


def test_the_sums_of_the_document_are_those_of_the_settings() -> None:
    """A stuck worker is killed when another one would have written its last lines. Then its parent writes."""
    assert STUCK_MARGIN_S == LAST_LINES_S
    settings = load({}, {}).settings
    prose = " ".join(OPERATIONS.split())
    beyond_s = GRACE_MARGIN_S + ADMIN_GRACE_S + 2 * LAST_LINES_S
    longest_s = (settings.lame_duck_ms + settings.max_timeout_ms) // 1000 + beyond_s
    assert f"`FANOUT_LAME_DUCK_MS` + `FANOUT_MAX_TIMEOUT_MS` + {beyond_s} s before it kills" in prose
    assert f"by default {longest_s} s." in prose
    assert f"A graceful shutdown ends within {longest_s} s with the default settings" in prose
    assert f"{settings.descriptors_needed:,} at the defaults" in prose
    assert f"and the reserve {settings.reserve_ms}." in prose


def test_every_alert_says_whose_fault_it_is_and_has_its_page() -> None:
    pages = dict(re.findall(r"^### (Fanout\w+)\n\n\*Fault: (\w+)", OPERATIONS, re.MULTILINE))
    assert {alert["alert"]: alert["labels"]["fault"] for alert in ALERTS} == pages
    assert set(pages.values()) == {"ours", "upstream"}
    for alert in ALERTS:
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    tests = yaml.safe_load((OBSERVABILITY / "rules/fanout.test.yml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test.get("alert_rule_test", [])
        if case.get("exp_alerts")
    }
    assert fired == {alert["alert"] for alert in ALERTS}


@needs("promtool")
@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "rules/fanout.yml"],
        ["test", "rules", "rules/fanout.test.yml"],
    ],
    ids=" ".join,
)
def test_promtool_agrees(command: list[str]) -> None:
    ran = subprocess.run(["promtool", *command], cwd=OBSERVABILITY, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_dashboard_is_what_its_program_makes() -> None:
    folder = OBSERVABILITY / "grafana"
    made = subprocess.run([sys.executable, folder / "make_dashboard.py"], capture_output=True, check=True)
    assert made.stdout == (folder / "fanout.json").read_bytes()


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((OBSERVABILITY / "grafana/fanout.json").read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells
