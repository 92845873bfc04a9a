"""Whether a JSON value has exactly the shape of a TypedDict."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict


def misfits(value: object, shape: Any, path: str = "$") -> list[str]:
    """Where `value` differs from `shape` (TypedDict, dict, list, union or a plain type): one line each."""
    if is_typeddict(shape):
        if not isinstance(value, dict):
            return [f"{path}: not an object"]
        hints = get_type_hints(shape)
        wrong = [f"{path}: {key} is missing or unknown" for key in hints.keys() ^ value.keys()]
        for key in hints.keys() & value.keys():
            wrong += misfits(value[key], hints[key], f"{path}.{key}")
        return wrong
    origin = get_origin(shape)
    if origin is UnionType:
        tried = [misfits(value, each, path) for each in get_args(shape)]
        return [] if [] in tried else tried[0]
    if origin is dict and isinstance(value, dict):
        return [
            line for key, each in value.items() for line in misfits(each, get_args(shape)[1], f"{path}.{key}")
        ]
    if origin is list and isinstance(value, list):
        return [line for each in value for line in misfits(each, get_args(shape)[0], f"{path}[]")]
    if shape is float and type(value) in (int, float):
        return []
    plain = NoneType if shape is None else shape
    return [] if origin is None and type(value) is plain else [f"{path}: {value!r} is not {shape}"]
