"""The rows *Slots*: a call is cancelled at each of its points, and then the pool must have its slot again.

A pool that has lost a slot never answers again when the last is gone. It takes one cancellation each.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from fanout.lab.side_by_side.cells import Cell, Row, Section
from fanout.lab.side_by_side.process import EndedEarly, values_from
from fanout.lab.side_by_side.sweeps import SITUATIONS, SWEEPS, Swept

HOW: Final = (
    "A pool of one connection, and a call that is cancelled at each of its points: as it begins to wait, and"
    " as it is about to resume. Lost: the next call waits for ever. The upstream moves when its client is"
    " idle, so every run has the same points."
)
TOTAL: Final = "together"
ROW_NAMES: Final = (TOTAL, *(situation.name for situation in SITUATIONS))
INSTALL: Final = "pip install 'fanout-server[lab]'"
_MODULE: Final = "fanout.lab.side_by_side.sweeps"


def section(names: Sequence[str] | None = None) -> Section:
    """Sweep every client, or those named in `SWEEPS`. Takes about ten seconds."""
    compared = tuple(name for name in SWEEPS if names is None or name in names)
    cells = {name: _cells(name) for name in compared}
    texts = {TOTAL: "The situations below, together."} | {each.name: each.text for each in SITUATIONS}
    rows = [
        Row(situation, "", text, tuple(cells[name][situation] for name in compared))
        for situation, text in texts.items()
    ]
    return Section("slots", "Slots", HOW, compared, tuple(rows))


def _cells(name: str) -> dict[str, Cell]:
    """By the name of the situation."""
    if name == "aiohttp" and importlib.util.find_spec("aiohttp") is None:
        missing = Cell(name, "not measured", "needs aiohttp", source=f"# {INSTALL}\n")
        return dict.fromkeys(ROW_NAMES, missing)
    cells = {}
    total = Swept()
    for situation in SITUATIONS:
        if situation.is_tls and importlib.util.find_spec("trustme") is None:
            cells[situation.name] = Cell(name, "not measured", "needs trustme", source=f"# {INSTALL}\n")
    request = {"sweep": name, "situations": [each.name for each in SITUATIONS if each.name not in cells]}
    try:
        for value in values_from(_MODULE, request):
            swept = Swept(**value["swept"])
            _add(total, swept)
            cells[value["situation"]] = cell_of(name, swept)
        cells[TOTAL] = cell_of(name, total)
    except EndedEarly as ending:
        silent = Cell(name, "broken", str(ending))
        cells = dict.fromkeys(ROW_NAMES, silent) | cells
    return cells


def cell_of(name: str, swept: Swept) -> Cell:
    """Its verdict follows from the counts. A sweep without points has shown nothing."""
    is_kept = swept.points > 0 and not (swept.slots or swept.failed or swept.sockets)
    return Cell(
        name,
        "kept" if is_kept else "broken",
        f"{swept.slots} of {swept.points} points",
        counts={
            "points": swept.points,
            "slots_lost": swept.slots,
            "next_calls_failed": swept.failed,
            "sockets_left_to_the_collector": swept.sockets,
        },
        source=swept.source,
        leak=swept.leak,
    )


def _add(total: Swept, swept: Swept) -> None:
    for field in fields(Swept):
        if field.type == "int":
            setattr(total, field.name, getattr(total, field.name) + getattr(swept, field.name))
    if swept.source and not total.source:
        total.source, total.leak = swept.source, swept.leak
