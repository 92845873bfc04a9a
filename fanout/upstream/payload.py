"""What a successful upstream answer looks like: a JSON object whose `time` is a non-negative integer.

The bytes are checked, then passed on unchanged: parsing and printing again could change a number.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

MAX_BODY_BYTES: Final = 64 * 1024
# What the upstream usually says, and all of it valid: it needs no parser.
_USUAL: Final = re.compile(rb'\{"time": ?(?:0|[1-9][0-9]{0,17})\}\n?')


def is_valid_payload(body: bytes) -> bool:
    """True for a UTF-8 JSON object (RFC 8259) with a non-negative integer `time` (true is not one).

    Names must be unique: with two, different readers would see different values. `NaN` and
    `Infinity`, which Python's parser accepts, are not JSON.
    """
    if _USUAL.fullmatch(body):
        return True
    try:
        payload = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_not_json)
    except (
        ValueError,
        RecursionError,
    ):  # ValueError: no UTF-8, no JSON, or an integer of thousands of digits
        return False
    if not isinstance(payload, dict):
        return False
    time = payload.get("time")
    return isinstance(time, int) and not isinstance(time, bool) and time >= 0


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a name occurs twice")
    return unique


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
