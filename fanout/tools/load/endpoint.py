"""What the API guarantees as the body of a 200, endpoint by endpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fanout import bounded_json


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of the API. `accepts` tells whether a decoded 200 body is what the API guarantees."""

    name: str
    path: str
    accepts: Callable[[object], bool]


def is_success_payload(value: object) -> bool:
    """One upstream success: an object whose `time` is a non-negative integer (a bool is not an integer)."""
    if not isinstance(value, dict):
        return False
    time = value.get("time")
    return type(time) is int and time >= 0


def is_success_list(value: object) -> bool:
    """A non-empty array of upstream successes."""
    return isinstance(value, list) and bool(value) and all(map(is_success_payload, value))


def decoded(body: bytes) -> object:
    """The JSON value of `body`, or None if it is not JSON or too deep (no valid body is `null`)."""
    try:
        return bounded_json.loads(body)
    except ValueError:
        return None


ENDPOINTS = {
    endpoint.name: endpoint
    for endpoint in (
        Endpoint("first", "/api/first", is_success_payload),
        Endpoint("all", "/api/all", is_success_list),
    )
}
