"""Small plans made by hand."""

from __future__ import annotations

from fanout.testing.world.plan import CallScript, ClientScript, Plan, RequestScript


def race(
    number: int, *calls: CallScript, ask: str = "first", timeout_ms: int = 1000, **manners: object
) -> RequestScript:
    """A request for a race of these calls."""
    head = f"GET /api/{ask}?timeout={timeout_ms} HTTP/1.1\r\nhost: a\r\n".encode()
    fields = {"ask": ask, "timeout_ms": timeout_ms, "calls": calls, **manners}
    return RequestScript(number, head, **fields)  # type: ignore[arg-type]


def plan_of(*requests: RequestScript, at_ms: int = 0, **limits: object) -> Plan:
    """A plan with one client."""
    return Plan((ClientScript(requests, at_ms=at_ms),), **limits)  # type: ignore[arg-type]


def answers(delay_ms: int) -> CallScript:
    return CallScript(delay_ms=delay_ms)


def fails(fault: str, delay_ms: int = 0) -> CallScript:
    return CallScript(fault, delay_ms)
