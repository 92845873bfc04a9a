"""What a trace consists of: one JSON object per line, each a record of a kind.

Times are seconds, all on one clock. `null` is what never happened: it is read as `never`, which is later than
every time. A field that is not there is not known, and a formula that needs it cannot be evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

never: Final = inf


class NotVisible(Exception):
    """A formula needs what the trace does not say. Its text is the name of the field."""


class Record:
    """One object of a trace, with its fields as attributes. Raises `NotVisible` for one that is not there."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:  # only asked for what is not there
        raise NotVisible(name)


def record_of(fields: Mapping[str, Any]) -> Record:
    """The record of a JSON object, and of the objects in it."""
    return Record({name: _value(value) for name, value in fields.items()})


def _value(value: Any) -> Any:
    if value is None:
        return never
    if isinstance(value, dict):
        return record_of(value)
    if isinstance(value, list):
        return [_value(one) for one in value]
    return value
