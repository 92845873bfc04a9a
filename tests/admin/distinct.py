"""A statistics object with a different value in every field, and its fields by their paths.

Whatever shows one field in the place of another, or in another unit, then shows a wrong number.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Union, get_args, get_origin, get_type_hints

Values = dict[str, Any]


def distinct(kind: Any, path: str = "", numbers: Iterator[int] | None = None) -> Any:
    """A value of this kind, made of the annotations: no number occurs twice.

    Texts are their own paths. Tuples of objects and mappings have two entries, and tuples of texts have
    lengths that differ. Whatever may be `None` is not.
    """
    numbers = numbers or count(1)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(
            **{
                field.name: distinct(hints[field.name], f"{path}.{field.name}".lstrip("."), numbers)
                for field in dataclasses.fields(kind)
            }
        )
    arguments = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return distinct(next(each for each in arguments if each is not types.NoneType), path, numbers)
    if get_origin(kind) is tuple and arguments == (str, ...):
        return tuple(f"{path}.{place}" for place in range(2 + next(numbers)))
    if get_origin(kind) is tuple:
        return tuple(distinct(arguments[0], f"{path}.{place}", numbers) for place in range(2))
    if get_origin(kind) in (dict, Mapping):
        return {f"{word}-of-{path}": distinct(arguments[1], path, numbers) for word in ("one", "two")}
    if kind is bool:
        return True
    if kind is str:
        return path
    if kind in (int, float):
        # The squares keep a difference or a sum of two of them from being a third.
        return kind(1000 + 10 * next(numbers) ** 2) + (0.5 if kind is float else 0)
    raise TypeError(f"{path}: no distinct value of {kind}")


def leaves(value: Any, path: str = "") -> Values:
    """Every field by its path, as `admission.in_flight`, `upstream.origins.0.idle`, `requests.calls[word]`.

    A tuple of texts counts as its length.
    """
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        found = [leaves(each, f"{path}.{name}".lstrip(".")) for name, each in fields.items()]
    elif isinstance(value, Mapping):
        found = [leaves(each, f"{path}[{key}]") for key, each in value.items()]
    elif isinstance(value, tuple) and not all(isinstance(each, str) for each in value):
        found = [leaves(each, f"{path}.{place}") for place, each in enumerate(value)]
    else:
        return {path: len(value) if isinstance(value, tuple) else value}
    return {key: each for part in found for key, each in part.items()}
