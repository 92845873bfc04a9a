"""`fanout lab --try FILE.py:FUNCTION`: a reader's own function in the situations of the task rows.

Rule 1: it says that it executes their code before anything of it runs.
Rule 2: their mistake is one line with the fix, never a traceback of ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import click

from fanout.lab.side_by_side import matrix
from fanout.lab.side_by_side.cells import Cell, Matrix, Row, Section
from fanout.lab.side_by_side.process import Patience
from fanout.lab.side_by_side.readers_function import YOURS, NotUsable, find
from fanout.lab.side_by_side.situations import SITUATIONS
from fanout.lab.side_by_side.tasks import HOW, measured
from fanout.lab.side_by_side.text import footer_of, grid_of
from fanout.lab.text import COLUMNS
from fanout.lab.timeline import drawn
from fanout.process.exits import DONE, NO, REFUSED

COMPARED_WITH: Final = (("asyncio", "taskgroup"), ("trio", "ours"))
PATIENCE: Final = Patience(spins=4, sleeps=20)  # a cell takes a few milliseconds


def run_try(target: str, as_json: bool = False) -> int:
    """Run the function next to a task group and fanout's own. Returns the exit code.

    Exit codes: 0 it kept everything; 1 a row is late or broken; 2 it cannot be run.
    """
    try:
        readers = find(target)
        click.echo(
            f"This executes {Path(readers.file).name} on this machine: {readers.function}(calls, timeout), on"
            f" {readers.runtime}, in a process of its own.",
            err=True,
        )
        places = [(YOURS, situation.name, readers.endpoint) for situation in SITUATIONS]
        cells = measured(readers.runtime, places, readers, PATIENCE)
    except NotUsable as error:
        click.echo(f"fanout lab --try: {error}", err=True)
        return REFUSED
    for runtime, name in COMPARED_WITH:
        cells |= measured(runtime, [(name, situation.name, readers.endpoint) for situation in SITUATIONS])
    names = (YOURS, *(name for _, name in COMPARED_WITH))
    rows = [
        Row(
            situation.name,
            readers.endpoint,
            situation.text,
            tuple(cells[name, situation.name, readers.endpoint] for name in names),
        )
        for situation in SITUATIONS
    ]
    section = Section(
        "tasks", f"Your {readers.function}", HOW, tuple(c.variant for c in rows[0].cells), tuple(rows)
    )
    yours = [(row, row.cells[0]) for row in rows]
    if as_json:
        click.echo(json.dumps(Matrix(matrix.versions(), (section,)).to_json(), indent=2))
    else:
        _show(section, yours)
    return DONE if all(cell.verdict == "kept" for _, cell in yours) else NO


def _show(section: Section, yours: list[tuple[Row, Cell]]) -> None:
    click.echo(grid_of(section) + "\n")
    opened = [(row, cell) for row, cell in yours if cell.verdict in ("late", "broken")]
    for row, cell in opened:
        click.echo(f"{row.name}: {row.situation}")
        for line in drawn(cell.timeline):
            click.echo(f"    {line}"[:COLUMNS])
        if cell.leak is not None:
            click.echo(
                f"    -> line {cell.leak}: {cell.source.splitlines()[cell.leak - 1].strip()}"[:COLUMNS]
            )
    kept = sum(cell.verdict == "kept" for _, cell in yours)
    click.echo(f"\nYour function kept {kept} of {len(yours)} rows.")
    click.echo(footer_of(matrix.versions()))
