"""How long a request may take: its `timeout` parameter, a budget in the deadline header, or the default.

Rule 1: both are decimal digits, given once, and not 0. Anything else is a 400 that says what is wrong.
Rule 2: with both, the smaller one counts.
Rule 3: a parameter above the longest timeout is a 400, too. A header above it is lowered to it: proxies send
        one by themselves, and an answer that comes sooner is still on time.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from fanout.api.problems import ProblemError, invalid_timeout
from fanout.race.budget import DEFAULT, HEADER, PARAMETER

_KEPT: Final = 256  # of what clients send; most send one of a few
_OTHER: Final = rb"(?!timeout=)[A-Za-z0-9._~-]*+=[A-Za-z0-9._~-]*+"
# The query of nearly every request: one timeout, and nothing to unquote.
_PLAIN: Final = re.compile(rb"(?:" + _OTHER + rb"&)*+timeout=([1-9][0-9]{0,8}+)(?:&" + _OTHER + rb")*+")


class Timeout(NamedTuple):
    """source: where it comes from, in a word of `fanout.race.budget`."""

    ms: int
    source: str


@lru_cache(_KEPT)
def read_timeout(query: bytes, default_ms: int, max_ms: int, header: str, sent: tuple[bytes, ...]) -> Timeout:
    """The timeout of a request with this query string.

    header: the name of the deadline header. sent: its values, one for each time that the request has it.
    Raises `ProblemError` (400), see the rules.
    """
    asked_ms = _in_query(query, max_ms)
    if not sent:
        return Timeout(default_ms, DEFAULT) if asked_ms is None else Timeout(asked_ms, PARAMETER)
    budget_ms = min(max_ms, _number([v.decode("latin-1") for v in sent], header, "such as 1000", max_ms))
    if not budget_ms:
        raise ProblemError(invalid_timeout(f"{header} must be at least 1 millisecond."))
    if asked_ms is not None and asked_ms <= budget_ms:
        return Timeout(asked_ms, PARAMETER)
    return Timeout(budget_ms, HEADER)


def _in_query(query: bytes, max_ms: int) -> int | None:
    plain = _PLAIN.fullmatch(query)
    if plain is not None and int(plain[1]) <= max_ms:
        return int(plain[1])
    values = [
        v for name, v in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if name == "timeout"
    ]
    if not values:
        return None
    number = _number(values, "timeout", f"1 to {max_ms}, such as timeout=1000", max_ms)
    if not 1 <= number <= max_ms:
        raise ProblemError(invalid_timeout(f"timeout must be from 1 to {max_ms} milliseconds."))
    return number


def _number(values: list[str], name: str, example: str, max_ms: int) -> int:
    """The milliseconds; any number above `max_ms` may stand for a larger one."""
    if len(values) > 1:
        raise ProblemError(invalid_timeout(f"{name} was given {len(values)} times. Give it once."))
    (text,) = values
    if not (text.isascii() and text.isdecimal()):
        raise ProblemError(invalid_timeout(f"{name} must be milliseconds in decimal digits, {example}."))
    digits = text.lstrip("0")
    return 0 if not digits else int(digits) if len(digits) <= len(str(max_ms)) else max_ms + 1
