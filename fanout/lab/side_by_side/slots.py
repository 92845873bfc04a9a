"""The rows *Slots*: a call is cancelled at each of its points, and then the pool must have its slot again.

Each lost slot takes one cancellation. When a pool has lost its last slot, it never answers again.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Final

from fanout.lab.side_by_side.cells import Cell, Row, Section
from fanout.lab.side_by_side.process import EndedEarly, values_from
from fanout.lab.side_by_side.sweeps import SITUATIONS, SWEEPS, Situation, Swept

HOW: Final = (
    "A pool of one connection, and a call that is cancelled at each of its points: as it begins to wait, and"
    " as it is about to resume. A slot is lost if the next call waits for ever. The upstream acts only when"
    " its client is idle, so every run has the same points."
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
    parts: list[Swept] = []
    try:
        for value in values_from(_MODULE, {"sweep": name, "situations": wanted}):
            parts.append(Swept(**value["swept"]))
            cells[value["situation"]] = cell_of(name, parts[-1])
    except EndedEarly as ending:
        silent = Cell(name, "broken", str(ending))
        return dict.fromkeys((TOTAL, *wanted), silent) | cells
    return cells | {TOTAL: cell_of(name, _together(parts))}


def _missing(name: str, situation: Situation) -> str:
    """What the sweep needs and this installation lacks, in a few words."""
    needs = [*(["aiohttp"] if name == "aiohttp" else []), *(["trustme"] if situation.is_tls else [])]
    return next((f"needs {module}" for module in needs if importlib.util.find_spec(module) is None), "")


def cell_of(name: str, swept: Swept) -> Cell:
    """The verdict follows from the counts. A sweep without points has shown nothing."""
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


def _together(parts: Sequence[Swept]) -> Swept:
    """Their sums, and the place of the first slot that was lost."""
    where = next((part for part in parts if part.source), Swept())
    return Swept(
        points=sum(part.points for part in parts),
        slots=sum(part.slots for part in parts),
        failed=sum(part.failed for part in parts),
        sockets=sum(part.sockets for part in parts),
        source=where.source,
        leak=where.leak,
    )
