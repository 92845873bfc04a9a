"""The Grafana dashboard as code: prints what `fanout.json` beside it holds, for Grafana 9 and newer.

    python deploy/observability/grafana/make_dashboard.py > deploy/observability/grafana/fanout.json

The first row answers three questions at a glance. The three below tell why: the upstream, the clients, us.
"""

from __future__ import annotations

import json
from typing import Any

JOB = 'job=~"$job"'
UPSTREAM = "{{server_address}}:{{server_port}}"
BY_UPSTREAM = "by (job, server_address, server_port)"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GREEN_TO_RED = ("green", "orange", "red")

Json = dict[str, Any]


def rate(metric: str, labels: str = "", by: str = "") -> str:
    chosen = ", ".join(part for part in (JOB, labels) if part)
    return f"sum {by} (rate({metric}{{{chosen}}}[$__rate_interval]))".replace("  ", " ")


def quantiles(
    histogram: str, labels: str = "", *, percents: tuple[int, ...] = (50, 95, 99)
) -> dict[str, str]:
    buckets = rate(f"{histogram}_bucket", labels, "by (le)")
    return {f"{percent} %": f"histogram_quantile({percent / 100}, {buckets})" for percent in percents}


def panel(
    kind: str, title: str, what: str, queries: dict[str, str], *, unit: str = "short", **more: Any
) -> Json:
    """queries: legend to PromQL. what: the sentence behind the panel's (i)."""
    targets: list[Json] = [
        {"refId": chr(ord("A") + n), "expr": expression, "legendFormat": legend, "datasource": DATASOURCE}
        for n, (legend, expression) in enumerate(queries.items())
    ]
    if kind == "timeseries" and "histogram_quantile" in targets[0]["expr"]:
        for target in targets:
            target["exemplar"] = True
    return {
        "type": kind,
        "title": title,
        "description": what,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, **more}, "overrides": []},
    }


def graph(title: str, what: str, queries: dict[str, str], unit: str = "short") -> Json:
    return panel("timeseries", title, what, queries, unit=unit)


def glance(
    title: str,
    what: str,
    queries: dict[str, str],
    steps: tuple[float, float],
    *,
    unit: str = "short",
    **more: Any,
) -> Json:
    """A large number: green, from the first step on orange, from the second on red."""
    values = (None, *steps)
    colours = [{"color": c, "value": v} for c, v in zip(GREEN_TO_RED, values, strict=True)]
    thresholds = {"mode": "absolute", "steps": colours}
    shown = panel("stat", title, what, queries, unit=unit, thresholds=thresholds, **more)
    return shown | {"options": {"colorMode": "background", "reduceOptions": {"calcs": ["lastNotNull"]}}}


def health_mappings() -> list[Json]:
    words = {"0": "healthy", "1": "unhealthy", "2": "down"}
    options = {value: {"text": word, "index": int(value)} for value, word in words.items()}
    return [{"type": "value", "options": options}]


def at_a_glance() -> list[Json]:
    return [
        glance(
            "Is the upstream healthy?",
            "Down: nobody has had an answer for a minute. Unhealthy: more than a quarter of its calls fail, "
            "or more than a tenth take over 700 ms. Our own lateness is left out.",
            {
                UPSTREAM: f"max {BY_UPSTREAM} (fanout:upstream_silent{{{JOB}}} * 0 + 2"
                f" or fanout:upstream_is_slow{{{JOB}}} * 0 + 1"
                f" or fanout:upstream_failed:ratio_rate5m{{{JOB}}} > bool 0.25)"
            },
            (1, 2),
            mappings=health_mappings(),
            noValue="not called",
        ),
        glance(
            "Are we refusing requests?",
            "The share of requests refused for overload. If the upstream is unhealthy, look there first.",
            {"refused": f"fanout:requests_shed:ratio_rate5m{{{JOB}}}"},
            (0.0001, 0.01),
            unit="percentunit",
            noValue="no requests",
        ),
        glance(
            "Guarantees broken",
            "Late answers, bugs, and what outlived its request, in the time shown. Every one is our fault.",
            {"broken": f"sum(increase(fanout_guarantees_broken_total{{{JOB}}}[$__range]))"},
            (1, 1),
            decimals=0,
        ),
        glance(
            "Alerts, by whose fault",
            "Each has its page in docs/operations.md.",
            {"{{fault}}": 'count by (fault) (ALERTS{alertstate="firing", alertname=~"Fanout.*"})'},
            (1, 1),
            noValue="none",
        ),
    ]


def the_upstream() -> list[Json]:
    client, outcome = "http_client_request_duration_seconds", 'fanout_outcome="success"'
    return [
        graph(
            "Share of calls that fail",
            "Of the calls that ended by themselves.",
            {UPSTREAM: f"fanout:upstream_failed:ratio_rate5m{{{JOB}}}"},
            "percentunit",
        ),
        graph(
            "Share of calls over 700 ms",
            "However they ended, of those that tell something.",
            {UPSTREAM: f"fanout:upstream_slow:ratio_rate5m{{{JOB}}}"},
            "percentunit",
        ),
        graph(
            "How long successful calls take",
            "For /api/first the slower one is cancelled, so this is the faster half of the truth.",
            quantiles(client, outcome),
            "s",
        ),
        graph(
            "Failures, by kind",
            "A number is the upstream's status.",
            {"{{error_type}}": rate(f"{client}_count", 'fanout_outcome="failed"', "by (error_type)")},
            "reqps",
        ),
        graph(
            "Calls, by how they ended",
            "Cancelled and settled: the race was over. Cancelled and deadline: the time was.",
            {"{{outcome}} {{reason}}": rate("fanout_calls_total", "", "by (outcome, reason)")},
            "reqps",
        ),
        graph(
            "Connections opened, closed, failed",
            "A cancelled call costs its connection; that is usual for /api/first.",
            {
                "opened": rate("fanout_pool_connections_created_total"),
                "closed: {{reason}}": rate("fanout_pool_connections_closed_total", "", "by (reason)"),
                "failed": rate("fanout_pool_connects_failed_total"),
                "made again": rate("fanout_pool_retries_total"),
                "names not resolved": rate("fanout_resolver_look_ups_failed_total"),
            },
            "ops",
        ),
    ]


def the_clients() -> list[Json]:
    return [
        graph(
            "What clients get",
            "Useful is a 200 in time. Refused before parsing: the loop was behind.",
            {
                "{{result}}": rate("fanout_answers_total", "", "by (result)"),
                "refused before parsing": rate("fanout_requests_refused_unparsed_total"),
                "not HTTP": rate("fanout_requests_malformed_total"),
            },
            "reqps",
        ),
        graph(
            "Why not",
            "The reason in the problem that the client got.",
            {"{{reason}}": rate("fanout_answers_total", 'result=~"error|refused|late|left"', "by (reason)")},
            "reqps",
        ),
        graph(
            "How long a race takes",
            "From the head of the request to the last byte of the answer.",
            quantiles("http_server_request_duration_seconds", 'http_route=~"/api/.+"'),
            "s",
        ),
        graph(
            "Client connections",
            "Waiting for a request, or busy with one.",
            {
                "{{state}}": f"sum by (state) (fanout_connections{{{JOB}}})",
            },
        ),
    ]


def us() -> list[Json]:
    return [
        graph(
            "Requests in flight",
            "At the limit one more is refused.",
            {
                "in flight": f"sum(fanout_requests_in_flight{{{JOB}}})",
                "limit": f"sum(fanout_requests_in_flight_limit{{{JOB}}})",
            },
        ),
        graph(
            "How late the event loop is",
            "A long pass makes everything late; the reserve grows with it.",
            {
                "longest pass of late": f"max(fanout_loop_lateness_seconds{{{JOB}}})",
                "usual pass": f"max(fanout_loop_usual_iteration_seconds{{{JOB}}})",
                "reserve": f"max(fanout_reserve_seconds{{{JOB}}})",
            },
            "s",
        ),
        graph(
            "From cancelled to gone",
            "How long a cancelled call takes to be gone, its connection closed.",
            quantiles("fanout_call_cancel_to_exit_seconds"),
            "s",
        ),
        graph(
            "Upstream connections",
            "In use or connecting must stay below the limit; idle ones wait for the next call.",
            {
                "{{state}}": f"sum by (state) (fanout_pool_connections{{{JOB}}})",
                "limit": f"sum(fanout_pool_connections_limit{{{JOB}}})",
            },
        ),
        graph(
            "Processor",
            "Of one core each: one process cannot use more.",
            {"{{instance}}": f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])"},
            "percentunit",
        ),
        graph("Memory", "Resident.", {"{{instance}}": f"process_resident_memory_bytes{{{JOB}}}"}, "bytes"),
        graph(
            "Processes and logs",
            "Restarts of workers, log lines that were dropped, spans that were not delivered.",
            {
                "restarts": f"sum(increase(fanout_worker_restarts_total{{{JOB}}}[$__rate_interval]))",
                "log lines dropped": rate("fanout_log_lines_dropped_total"),
                "spans {{result}}": rate("fanout_spans_total", 'result!="delivered"', "by (result)"),
            },
        ),
    ]


def dashboard() -> Json:
    panels: list[Json] = []
    top = 0
    rows = {
        "At a glance": (at_a_glance(), 6, 5),
        "The upstream": (the_upstream(), 8, 8),
        "The clients": (the_clients(), 6, 8),
        "Us": (us(), 8, 8),
    }
    for title, (content, width, height) in rows.items():
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}})
        top += 1
        for n, shown in enumerate(content):
            column, line = n * width % 24, n * width // 24
            panels.append(
                shown | {"gridPos": {"x": column, "y": top + line * height, "w": width, "h": height}}
            )
        top += -(-len(content) * width // 24) * height
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "job",
            "type": "query",
            "datasource": DATASOURCE,
            "query": "label_values(fanout_build_info, job)",
            "includeAll": True,
            "current": {"text": "All", "value": "$__all"},
            "refresh": 2,
        },
    ]
    return {
        "uid": "fanout",
        "title": "fanout",
        "description": "Is the upstream healthy, and are we? Made by make_dashboard.py beside it.",
        "schemaVersion": 38,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": [{"id": number, **shown} for number, shown in enumerate(panels, 1)],
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))  # noqa: T201 - it is what it is for
