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
from fanout.lab.side_by_side.sweeps import SITUATIONS, SWEEPS, Situation, Swept

HOW: Final = (
    "A pool of one connection, and a call that is cancelled at each of its points: as it begins to wait, and"
    " as it is about to resume. Lost: the next call waits for ever. The upstream moves when its client is"
    " idle, so every run has the same points."
)
TOTAL: Final = "together"
ROW_NAMES: Final = (TOTAL, *(situation.name for situation in SITUATIONS))
INSTALL: Final = "pip install 'fanout-server[lab]'"
_MODULE: Final = "fanout.lab.side_by_side.sweeps"


def section(names: Sequence[str] | None = None, rows: Sequence[str] = ROW_NAMES) -> Section:
    """Sweep every client, or those named in `SWEEPS`, in these rows. All of it takes about 20 seconds."""
    compared = tuple(name for name in SWEEPS if names is None or name in names)
    situations = tuple(each for each in SITUATIONS if each.name in rows)
    cells = {name: _cells(name, situations) for name in compared}
    texts = {TOTAL: "The situations below, together."} | {each.name: each.text for each in situations}
    swept = [
        Row(situation, "", text, tuple(cells[name][situation] for name in compared))
        for situation, text in texts.items()
    ]
    return Section("slots", "Slots", HOW, compared, tuple(swept))


def _cells(name: str, situations: Sequence[Situation]) -> dict[str, Cell]:
    """By the name of the situation."""
    wanted = [each.name for each in situations if not _missing(name, each)]
    cells = {
        each.name: Cell(name, "not measured", _missing(name, each), source=f"# {INSTALL}\n")
        for each in situations
        if each.name not in wanted
    }
    if not wanted:
        return cells | {TOTAL: next(iter(cells.values()))}
    total = Swept()
    try:
        for value in values_from(_MODULE, {"sweep": name, "situations": wanted}):
            swept = Swept(**value["swept"])
            _add(total, swept)
            cells[value["situation"]] = cell_of(name, swept)
    except EndedEarly as ending:
        silent = Cell(name, "broken", str(ending))
        return dict.fromkeys((TOTAL, *wanted), silent) | cells
    return cells | {TOTAL: cell_of(name, total)}


def _missing(name: str, situation: Situation) -> str:
    """What the sweep needs and this installation has not, in a few words."""
    needs = [*(["aiohttp"] if name == "aiohttp" else []), *(["trustme"] if situation.is_tls else [])]
    return next((f"needs {module}" for module in needs if importlib.util.find_spec(module) is None), "")


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
