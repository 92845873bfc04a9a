"""Small plans made by hand."""

from __future__ import annotations

from typing import Any

from fanout.testing.world.plan import CallScript, ClientScript, Http2Script, Plan, RequestScript


def race(
    number: int, *calls: CallScript, ask: Any = "first", timeout_ms: int = 1000, **manners: Any
) -> RequestScript:
    """A request for a race of these calls."""
    head = f"GET /api/{ask}?timeout={timeout_ms} HTTP/1.1\r\nhost: a\r\n".encode()
    return RequestScript(number, head, ask, timeout_ms=timeout_ms, calls=calls, **manners)


def plan_of(
    *requests: RequestScript,
    at_ms: int = 0,
    http2: Http2Script | None = None,
    tls: bool = False,
    window_bytes: int = 65536,
    **limits: Any,
) -> Plan:
    """A plan with one client."""
    client = ClientScript(requests, at_ms=at_ms, http2=http2, tls=tls, window_bytes=window_bytes)
    return Plan((client,), **limits)


def answers(delay_ms: int) -> CallScript:
    return CallScript(delay_ms=delay_ms)


def fails(fault: str, delay_ms: int = 0) -> CallScript:
    return CallScript(fault, delay_ms)
