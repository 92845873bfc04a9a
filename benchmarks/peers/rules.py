"""What the peers in Python have in common, so that all do the same work: fanout's rules, written plainly.

A request makes two calls. A success is a 200 of at most 64 KiB whose body is a JSON object with a whole
number from 0 up as `time`. The race ends 20 ms before the client's timeout.
"""

from __future__ import annotations

import json

RESERVE_S = 0.020
MAX_TIMEOUT_MS = 30_000
MAX_BODY_BYTES = 64 * 1024


def timeout_ms(text: str) -> int | None:
    """The client's timeout, or `None` if it is not a valid one."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        return None
    return int(text) if 1 <= int(text) <= MAX_TIMEOUT_MS else None


def is_success(status: int, body: bytes) -> bool:
    if status != 200 or len(body) > MAX_BODY_BYTES:
        return False
    try:
        payload = json.loads(body)
    except ValueError:
        return False
    time = payload.get("time") if isinstance(payload, dict) else None
    return type(time) is int and time >= 0


def problem_body(status: int, reason: str) -> bytes:
    return json.dumps({"type": "about:blank", "title": reason, "status": status, "reason": reason}).encode()
