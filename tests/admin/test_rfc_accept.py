"""Which format a client gets, by its `Accept` field: RFC 9110 12.5.1, and OpenMetrics."""

from __future__ import annotations

import pytest

from fanout.admin.accept import accept_of, prefers
from fanout.admin.exposition import expose

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"

OPEN_METRICS = {
    "its name": "application/openmetrics-text",
    "its name in other letters": "Application/OpenMetrics-Text",
    "a quality in other letters": "text/plain;q=0.1, application/openmetrics-text;Q=0.9",
    "Prometheus 2": PROMETHEUS_2,
    "Prometheus 3": PROMETHEUS_3,
    "both at the same quality": "text/plain, application/openmetrics-text",
    "whitespace": "text/plain ; q=0.2 ,\tapplication/openmetrics-text ; version=1.0.0 ;\tq=0.3",
    "all of its kind": "application/*",
    "text is not acceptable": "application/openmetrics-text;q=0.1, text/plain;q=0",
    "all but text": "text/plain;q=0, */*",
    "no text of any kind": "text/*;q=0, */*",
    "one of two versions": "application/openmetrics-text;version=2.0.0;q=0, application/openmetrics-text",
}
CLASSIC = {
    "nothing": "",
    "anything": "*/*",
    "text": "text/plain",
    "a browser": FIREFOX,
    "another name": "application/openmetrics-texts",
    "another name that has it in it": "x-application/openmetrics-text",
    "a parameter that has it in it": 'text/plain;a="application/openmetrics-text"',
    "OpenMetrics is not acceptable": "application/openmetrics-text;q=0",
    "not acceptable in other digits": "application/openmetrics-text;q=0.000",
    "not acceptable in other letters": "APPLICATION/OPENMETRICS-TEXT;version=1.0.0;Q=0",
    "not acceptable, and anything else is": "application/openmetrics-text;q=0, */*",
    "text rather than OpenMetrics": "application/openmetrics-text;q=0.5, text/plain",
    "anything rather than OpenMetrics": "application/openmetrics-text;q=0.5, */*",
    "any text rather than OpenMetrics": "application/openmetrics-text;q=0.5, text/*;q=0.6",
    "neither": "application/openmetrics-text;q=0, text/plain;q=0",
    "another type": "image/png",
    "a quality that is no number": "application/openmetrics-text;q=x, text/plain;q=0.1",
    "a quality of infinity": "application/openmetrics-text;q=inf, text/plain",
    "a quality that is none": "application/openmetrics-text;q=nan, text/plain",
    "a quality below zero": "application/openmetrics-text;q=-1, text/plain;q=0.1",
    "no media range": "openmetrics-text, \\, ;q=1, ,",
}


@pytest.mark.parametrize("name", OPEN_METRICS)
async def test_a_scrape_gets_open_metrics_if_its_client_prefers_it(name: str) -> None:
    content_type, _ = await expose([], OPEN_METRICS[name])
    assert content_type.startswith("application/openmetrics-text")


@pytest.mark.parametrize("name", CLASSIC)
async def test_a_scrape_gets_the_classic_text_otherwise(name: str) -> None:
    """Also if neither is acceptable: a server MAY send what it has (RFC 9110 12.4.1)."""
    content_type, _ = await expose([], CLASSIC[name])
    assert content_type.startswith("text/plain")


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON;q=0.5", True),
        ("application/json;q=0", False),
        ("application/json;q=0, */*", False),
        (FIREFOX, False),
        ("application/jsonl", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_tasks_are_json_if_their_client_prefers_it(accept: str, is_json: bool) -> None:
    assert prefers(accept, "application/json", over="text/plain") is is_json


def test_a_field_on_several_lines_is_one_list() -> None:
    """RFC 9110 5.3."""
    fields = [(b"accept", b"text/plain;q=0.5"), (b"host", b"a"), (b"accept", b"application/json")]
    assert accept_of({"headers": fields}) == "text/plain;q=0.5,application/json"
    assert accept_of({"headers": []}) == ""
