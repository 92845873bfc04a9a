"""The rows *Tasks*: what each variant leaves, cuts and loses. Time jumps, so it is exact in every run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import product
from typing import Final

from fanout.lab.side_by_side.cell_process import Place, Seen, run_cells
from fanout.lab.side_by_side.cells import Cell, Row, Section
from fanout.lab.side_by_side.observed import cell_of
from fanout.lab.side_by_side.process import SILENT_FOR_S
from fanout.lab.side_by_side.readers_function import YOURS, ReadersFunction
from fanout.lab.side_by_side.situations import BY_NAME as SITUATIONS_BY_NAME
from fanout.lab.side_by_side.variants import BY_NAME, ENDPOINTS, VARIANTS

COMPARED: Final = tuple(
    variant for variant in VARIANTS if variant.runtime != "threads" and variant.name != "trio_nursery"
)
HOW: Final = (
    "Without sockets, in time that jumps: asyncio's own event loop with another clock, Trio with its clock"
    " for tests. left: tasks that run when the answer is written (at 0 ms) or 50 ms later. +: late by. cut: a"
    " clean-up was ended before it was done. bug lost: it came to no handler and no log."
)


ROW_NAMES: Final = tuple(SITUATIONS_BY_NAME)


def section(names: Sequence[str] | None = None) -> Section:
    """Run every variant in every situation, or those named. Takes about a second."""
    compared = [variant for variant in COMPARED if names is None or variant.name in names]
    cells: dict[Place, Cell] = {}
    for runtime in ("asyncio", "trio", "trio_asyncio"):
        variants = [variant.name for variant in compared if variant.runtime == runtime]
        cells |= measured(runtime, list(product(variants, SITUATIONS_BY_NAME, ENDPOINTS)))
    titles = tuple(variant.title for variant in compared)
    rows = [
        Row(name, endpoint, situation.text, tuple(cells[v.name, name, endpoint] for v in compared))
        for endpoint, (name, situation) in product(ENDPOINTS, SITUATIONS_BY_NAME.items())
    ]
    return Section("tasks", "Tasks", HOW, titles, tuple(rows))


def measured(
    runtime: str,
    places: Sequence[Place],
    readers: ReadersFunction | None = None,
    silent_for_s: float = SILENT_FOR_S,
) -> dict[Place, Cell]:
    """The cells of these places. Raises `NotUsable` if a reader's function cannot be run."""
    if runtime == "trio_asyncio" and find_spec("trio_asyncio") is None:
        return {
            place: Cell(BY_NAME[place[0]].title, "not measured", "needs trio-asyncio") for place in places
        }
    seen = run_cells(runtime, places, readers, silent_for_s)
    return {place: _cell(seen, place, readers) for place in places}


def _cell(seen: Seen, place: Place, readers: ReadersFunction | None) -> Cell:
    name, situation_name, endpoint = place
    situation = SITUATIONS_BY_NAME[situation_name]
    if name == YOURS and readers is not None:
        title, source = YOURS, readers.source
    else:
        title, source = BY_NAME[name].title, BY_NAME[name].source
    if place in seen.cells:
        return cell_of(seen.cells[place], title, situation, endpoint, source)
    if place in seen.silent:
        return Cell(
            title, "broken", seen.silent[place], due_ms=situation.right(endpoint).due_ms, source=source
        )
    return Cell(title, "not measured", "given up", source=source)
