"""What a span says is what the receipt says: each attribute comes from its member, in its unit."""

from __future__ import annotations

from typing import Any

import pytest

from fanout.observe.receipt import CallReceipt, Receipt
from fanout.observe.tracing_attributes import Attributes, client_attributes, server_attributes

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
    assert server_attributes(RECEIPT, OF_REQUEST) == (
        {
            "http.route": "/api/first",
            "url.path": "/sent",
            "fanout.request_id": "id-1",
            "fanout.reason": "success",
            "fanout.used_ms": 1250.0,
            "fanout.late_by_ms": 150.0,
            "fanout.timeout_ms": 1100,
            "fanout.reserve_ms": 22.5,
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
