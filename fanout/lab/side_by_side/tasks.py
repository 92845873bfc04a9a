"""The rows *Tasks*: what each variant leaves, cuts and loses. Time is virtual, so every run is exact."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Final

from fanout.lab.side_by_side.cell_process import Place, Seen, run_cells
from fanout.lab.side_by_side.cells import Cell, Row, Section
from fanout.lab.side_by_side.observed import cell_of
from fanout.lab.side_by_side.process import PATIENT, Patience
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


def section(names: Sequence[str] | None = None, rows: Sequence[str] = ROW_NAMES) -> Section:
    """Run every variant in every situation, or those named. Takes about two seconds."""
    compared = [variant for variant in COMPARED if names is None or variant.name in names]
    places = {
        runtime: list(product([v.name for v in compared if v.runtime == runtime], rows, ENDPOINTS))
        for runtime in ("asyncio", "trio", "trio_asyncio")
    }
    with ThreadPoolExecutor() as pool:  # each waits for a process
        cells = dict(ChainMap(*pool.map(measured, places.keys(), places.values())))
    titles = tuple(variant.title for variant in compared)
    seen = [
        Row(
            row, endpoint, SITUATIONS_BY_NAME[row].text, tuple(cells[v.name, row, endpoint] for v in compared)
        )
        for endpoint, row in product(ENDPOINTS, rows)
    ]
    return Section("tasks", "Tasks", HOW, titles, tuple(seen))


def measured(
    runtime: str,
    places: Sequence[Place],
    readers: ReadersFunction | None = None,
    patience: Patience = PATIENT,
) -> dict[Place, Cell]:
    """The cells of these places. Raises `NotUsable` if a reader's function cannot be run."""
    missing = {name for name, variant in BY_NAME.items() if variant.lacks}
    seen = run_cells(runtime, [place for place in places if place[0] not in missing], readers, patience)
    return {place: _cell(seen, place, readers) for place in places}


def _cell(seen: Seen, place: Place, readers: ReadersFunction | None) -> Cell:
    name, situation_name, endpoint = place
    situation = SITUATIONS_BY_NAME[situation_name]
    if name == YOURS and readers is not None:
        title, source = YOURS, readers.source
    else:
        title, source = BY_NAME[name].title, BY_NAME[name].source
        if BY_NAME[name].lacks:
            return Cell(title, "not measured", f"needs {BY_NAME[name].lacks}", source=source)
    if place in seen.cells:
        return cell_of(seen.cells[place], title, situation, endpoint, source)
    if place in seen.silent:
        return Cell(
            title, "broken", seen.silent[place], due_ms=situation.right(endpoint).due_ms, source=source
        )
    return Cell(title, "not measured", "given up", source=source)
