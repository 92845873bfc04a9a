"""The `timeout` parameter: decimal digits, once, in range. Anything else is a 400 that says what is wrong."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from fanout.api.problems import ProblemError, invalid_timeout

_KEPT: Final = 256  # of the queries that clients send; most send one of a few
_PLAIN: Final = re.compile(rb"timeout=([1-9][0-9]{0,8})")  # nearly every request; it needs no unquoting


@lru_cache(_KEPT)
def read_timeout_ms(query: bytes, default_ms: int, max_ms: int) -> int:
    """The timeout a query string asks for, in milliseconds; `default_ms` if it names none.

    Raises `ProblemError` (400) for a timeout that is repeated, empty, signed, fractional, spaced,
    not in ASCII digits, or not in `1 … max_ms`.
    """
    plain = _PLAIN.fullmatch(query)
    if plain is not None and int(plain[1]) <= max_ms:
        return int(plain[1])
    values = [
        v for name, v in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if name == "timeout"
    ]
    if not values:
        return default_ms
    if len(values) > 1:
        raise ProblemError(invalid_timeout(f"timeout was given {len(values)} times. Give it once."))
    (text,) = values
    if not (text.isascii() and text.isdecimal()):
        detail = f"timeout must be milliseconds in decimal digits, 1 to {max_ms}, such as timeout=1000."
        raise ProblemError(invalid_timeout(detail))
    digits = text.lstrip("0")
    if not digits or len(digits) > len(str(max_ms)) or int(digits) > max_ms:
        raise ProblemError(invalid_timeout(f"timeout must be from 1 to {max_ms} milliseconds."))
    return int(digits)
