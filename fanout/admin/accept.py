"""Which of two media types a client prefers, by its `Accept` field (RFC 9110 §12.5.1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

_QUALITY: Final = "q"


def accept_of(scope: Any) -> str:
    """The `Accept` field of a request, which may come on several lines. scope: ASGI's."""
    return ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == b"accept")


def prefers(accept: str, media_type: str, over: str) -> bool:
    """Whether the client prefers `media_type`. Without a preference `over` is the default.

    Of two types with one quality it prefers the one that it names, and of two that it names `media_type`.
    Parameters other than the quality do not count. What is no media range is ignored.
    """
    ranges = list(_ranges_of(accept))
    quality, precision = _quality_of(media_type, ranges)
    other_quality, other_precision = _quality_of(over, ranges)
    if quality != other_quality:
        return quality > other_quality
    return quality > 0 and precision > 0 and precision >= other_precision


def _ranges_of(accept: str) -> Iterable[tuple[str, float]]:
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip(" \t") for piece in part.split(";"))
        if "/" in name:
            yield name, min(map(_weight_of, parameters), default=1.0)


def _weight_of(parameter: str) -> float:
    """The quality that a parameter says. One that cannot be read is none: nobody asks for what follows."""
    name, _, value = parameter.partition("=")
    if name.rstrip(" \t") != _QUALITY:
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0


def _quality_of(media_type: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """The quality by the most precise of the ranges that include it, and how precise that is: 0, 1 or 2."""
    kind, _, _ = media_type.partition("/")
    for precision, name in ((2, media_type), (1, f"{kind}/*"), (0, "*/*")):
        found = [quality for range_, quality in ranges if range_ == name]
        if found:
            return max(found), precision
    return 0.0, 0
