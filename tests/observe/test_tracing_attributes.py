"""What a span says is what the receipt says: each attribute comes from its member, in its unit."""

from __future__ import annotations

from typing import Any

import pytest

from fanout.observe.receipt import CallReceipt, Receipt
from fanout.observe.tracing_attributes import (
    Attributes,
    address_attributes,
    client_attributes,
    request_attributes,
    server_attributes,
    upstream_attributes,
)

CALL = CallReceipt(
    call=7,
    outcome="cancelled",
    error=None,
    status=299,
    started_at=1.5,
    ended_at=2.5,
    phases=(),
    reused=True,
    kept=False,
    cancel_source="explicit",
    cancel_reason="call 0 settled the race",
    cancel_to_exit_ms=0.25,
    time_left_ms=480,
)
RECEIPT = Receipt(
    request_id="id-1",
    trace_id=None,
    endpoint="first",
    arrived_at=10.0,
    timeout_ms=1100,
    reserve_ms=22.5,
    ended_at=11.25,
    used_ms=1250.0,
    status=200,
    reason="success",
    late_by_ms=150.0,
    calls=(CALL,),
)
OF_REQUEST: Attributes = {"http.route": "/api/first", "url.path": "/sent"}


def test_each_attribute_of_a_request_is_its_member() -> None:
    assert server_attributes(RECEIPT._replace(timeout_from="header"), OF_REQUEST) == (
        {
            "http.route": "/api/first",
            "url.path": "/sent",
            "fanout.request_id": "id-1",
            "fanout.reason": "success",
            "fanout.used_ms": 1250.0,
            "fanout.late_by_ms": 150.0,
            "fanout.timeout_ms": 1100,
            "fanout.reserve_ms": 22.5,
            "fanout.timeout_from": "header",
            "http.response.status_code": 200,
        },
        False,
    )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"status": 500, "reason": "deadline"}, "timeout"),
        ({"status": 503, "reason": "overloaded"}, "overloaded"),
        ({"status": 499, "reason": "no_success"}, None),
        ({"status": None, "reason": "client_disconnected"}, None),
    ],
)
def test_what_is_an_error_of_a_request(changes: dict[str, Any], error: str | None) -> None:
    attributes, is_error = server_attributes(RECEIPT._replace(**changes), OF_REQUEST)
    assert (attributes.get("error.type"), is_error) == (error, error is not None)
    assert attributes.get("http.response.status_code") == changes["status"]


def test_each_attribute_of_a_call_is_its_member() -> None:
    assert client_attributes(CALL) == (
        {
            "fanout.call.index": 7,
            "fanout.call.outcome": "cancelled",
            "fanout.connection.reused": True,
            "fanout.connection.kept": False,
            "http.response.status_code": 299,
            "fanout.call.time_left_ms": 480,
            "fanout.cancel.source": "explicit",
            "fanout.cancel.reason": "call 0 settled the race",
            "fanout.cancel.to_exit_ms": 0.25,
        },
        False,
    )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"outcome": "won", "status": None}, None),
        ({"outcome": "failed", "error": "bad_status", "status": 502}, "502"),
        ({"outcome": "failed", "error": "bad_payload", "status": 200}, "bad_payload"),
        ({"outcome": "internal", "status": None}, "internal"),
        ({"cancel_source": "deadline"}, "timeout"),
    ],
)
def test_what_is_an_error_of_a_call(changes: dict[str, Any], error: str | None) -> None:
    attributes, is_error = client_attributes(CALL._replace(**changes))
    assert (attributes.get("error.type"), is_error) == (error, error is not None)


def scope(**changes: Any) -> dict[str, Any]:
    return {
        "method": "GET",
        "path": "/api/ä",
        "raw_path": b"/api/%C3%A4?timeout=5",
        "scheme": "https",
        "http_version": "2",
        "headers": [(b"x-one", b"1"), (b"host", b"a.test:81"), (b"host", b"b.test")],
        **changes,
    }


SENT: Attributes = {
    "url.path": "/api/%C3%A4",
    "url.scheme": "https",
    "http.route": "/api/ä",
    "network.protocol.version": "2",
    "http.request.method": "GET",
}


@pytest.mark.parametrize(
    ("changes", "attributes"),
    [
        ({}, {**SENT, "server.address": "a.test", "server.port": 81}),
        ({"headers": []}, SENT),
        ({"headers": [(b"x-host", b"a")]}, SENT),
        (
            {"method": "BREW", "headers": []},
            {**SENT, "http.request.method": "_OTHER", "http.request.method_original": "BREW"},
        ),
        ({"headers": [(b"host", b"\xe4:5")]}, {**SENT, "server.address": "ä", "server.port": 5}),
    ],
)
def test_what_a_client_sent_is_said(changes: dict[str, Any], attributes: Attributes) -> None:
    assert request_attributes(scope(**changes)) == attributes


@pytest.mark.parametrize(
    "method", ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"]
)
def test_every_method_of_the_standard_is_said_as_it_is(method: str) -> None:
    attributes = request_attributes(scope(method=method))
    assert attributes["http.request.method"] == method
    assert "http.request.method_original" not in attributes


def test_what_a_client_sent_is_cut() -> None:
    attributes = request_attributes(
        scope(path="/" * 5000, raw_path=b"/" * 5000, headers=[(b"host", b"h" * 5000)])
    )
    for name in ("url.path", "http.route", "server.address"):
        assert len(str(attributes[name])) == 1024


@pytest.mark.parametrize(
    ("url", "address", "port"),
    [
        ("http://a.test/api", "a.test", 80),
        ("https://a.test/api?x=1", "a.test", 443),
        ("https://***@a.test:8443/api", "a.test", 8443),
        ("http://[::1]:81/", "::1", 81),
    ],
)
def test_what_is_said_of_every_call_to_an_upstream(url: str, address: str, port: int) -> None:
    assert upstream_attributes(url) == {
        "http.request.method": "GET",
        "url.full": url,
        "network.protocol.version": "1.1",
        "server.address": address,
        "server.port": port,
    }


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        ("a.test", "a.test", None),
        ("X.test", "X.test", None),
        ("X.test:5", "X.test", 5),
        ("a.test:", "a.test:", None),
        ("a.test:x", "a.test:x", None),
        ("a.test:99999", "a.test", 99999),
        ("a.test:123456", "a.test:123456", None),
        ("a.test:٣", "a.test:٣", None),
        ("a.test:²", "a.test:²", None),
        ("[::1]", "::1", None),
        ("[::1]:5", "::1", 5),
        (":5", "", 5),
        ("", "", None),
    ],
)
def test_an_address_is_a_name_and_perhaps_a_port(host: str, address: str, port: int | None) -> None:
    more = {} if port is None else {"server.port": port}
    assert address_attributes(host) == {"server.address": address, **more}


def test_a_request_without_a_race_has_no_route_and_no_timeout() -> None:
    for receipt in (RECEIPT._replace(timeout_ms=None), RECEIPT._replace(reserve_ms=None)):
        attributes, _ = server_attributes(receipt, OF_REQUEST)
        assert not {"http.route", "fanout.timeout_ms", "fanout.reserve_ms"} & set(attributes)
    assert "http.route" in OF_REQUEST, "what is given is not changed"


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"outcome": "won", "status": None}, 200), ({"outcome": "ok", "status": None}, 200), ({}, 299)],
)
def test_the_status_of_a_success_is_200(changes: dict[str, Any], status: int) -> None:
    assert client_attributes(CALL._replace(**changes))[0]["http.response.status_code"] == status


def test_a_failure_without_a_status_is_named_by_its_word() -> None:
    failed = CALL._replace(outcome="failed", error="bad_status", status=None)
    assert client_attributes(failed)[0]["error.type"] == "bad_status"
    assert client_attributes(failed._replace(error=None))[0]["error.type"] == "failed"
