"""The process that runs variants: of asyncio and Trio it imports one.

A request is JSON: `runtime`, `cells` as [variant, situation, endpoint], and `readers`, the function behind
the variant `yours`. Each cell is a value as soon as it is known, so a variant that blocks the event loop for
ever costs one cell.

Rule 1: asyncio's process never imports trio_asyncio, or asyncio would not be asyncio's own.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from fanout.lab.side_by_side.observed import Observed
from fanout.lab.side_by_side.process import PATIENT, EndedEarly, Patience, answer, values_from
from fanout.lab.side_by_side.readers_function import YOURS, NotUsable, ReadersFunction, load
from fanout.lab.side_by_side.situations import BY_NAME as SITUATIONS
from fanout.lab.side_by_side.variants import BY_NAME as VARIANTS
from fanout.lab.side_by_side.variants import Fanout

Place = tuple[str, str, str]
"""Of a cell: the variant, the situation and the endpoint."""

FOREIGN: Final = {"asyncio": ("trio", "trio_asyncio"), "trio": ("trio_asyncio",), "trio_asyncio": ()}
MAX_STARTS: Final = 3


@dataclasses.dataclass(slots=True)
class Seen:
    """The outcome of the cells. silent: for those without an answer, what they did, in a few words."""

    cells: dict[Place, Observed] = dataclasses.field(default_factory=dict)
    silent: dict[Place, str] = dataclasses.field(default_factory=dict)


def run_cells(
    runtime: str,
    places: Sequence[Place],
    readers: ReadersFunction | None = None,
    patience: Patience = PATIENT,
) -> Seen:
    """Run variants in a process of their own, and the rest in a new one if a cell stops it.

    Raises `NotUsable` if a reader's function cannot be run.
    """
    seen = Seen()
    loads = False
    for _ in range(MAX_STARTS):
        rest = [place for place in places if place not in seen.cells and place not in seen.silent]
        if not rest:
            break
        request = {"runtime": runtime, "cells": rest, "readers": readers and dataclasses.asdict(readers)}
        try:
            for value in values_from(__name__, request, patience):
                if "unusable" in value:
                    raise NotUsable(value["unusable"])
                if "cell" not in value:
                    loads = value["loads"] and readers is not None
                    continue
                variant, situation, endpoint = value["cell"]
                seen.cells[variant, situation, endpoint] = Observed.from_json(value["observed"])
        except EndedEarly as ending:
            if loads and readers is not None:
                guard = '`if __name__ == "__main__":`'
                raise NotUsable(
                    f"{Path(readers.file).name} {ending} as it is imported: put what it runs below {guard}"
                ) from None
            seen.silent[next(place for place in rest if place not in seen.cells)] = str(ending)
    return seen


def cells(request: Any) -> Iterator[object]:
    runtime = request["runtime"]
    observe = importlib.import_module(f"fanout.lab.side_by_side.{runtime}_world").observe
    yield {"loads": True}
    try:
        functions = _functions(request)
    except NotUsable as error:
        yield {"unusable": str(error)}
        return
    yield {"loads": False}
    gc.freeze()  # each cell is followed by a collection, which need not look at the modules
    for name, situation, endpoint in request["cells"]:
        function, path = functions[name, endpoint]
        observed = observe(function, SITUATIONS[situation], endpoint, path)
        yield {"cell": [name, situation, endpoint], "observed": dataclasses.asdict(observed)}
        loaded = [module for module in FOREIGN[runtime] if module in sys.modules]
        assert request["readers"] or not loaded, f"{loaded} were imported into asyncio's process"  # Rule 1


def _functions(request: Any) -> dict[tuple[str, str], tuple[Fanout, str]]:
    """By variant and endpoint, the function and its file."""
    functions: dict[tuple[str, str], tuple[Fanout, str]] = {}
    for name, _, endpoint in request["cells"]:
        if name == YOURS:
            readers = ReadersFunction(**request["readers"])
            functions[name, endpoint] = functions.get((name, endpoint)) or (load(readers), readers.file)
        else:
            functions[name, endpoint] = VARIANTS[name].function(endpoint), str(VARIANTS[name].path)
    return functions


if __name__ == "__main__":
    answer(cells)
