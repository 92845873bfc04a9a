"""The matrix as text: 100 columns, no colour when it is piped. A grid, then rows, then single cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Final

import click

from fanout.lab.side_by_side.cells import Cell, Row, Section
from fanout.lab.text import COLUMNS
from fanout.lab.timeline import drawn

_LABEL: Final = 16
_WIDEST: Final = 22
_COLOURS: Final = {"kept": "green", "late": "yellow", "broken": "red", "not measured": None}


def grid_of(section: Section) -> str:
    """Variants as columns. Their names stand on stairs, because none fits above its column."""
    width = min((COLUMNS - _LABEL) // len(section.variants), _WIDEST)
    lines = [f"{section.title.upper()}", *wrap(section.how, COLUMNS), ""]
    for column, variant in enumerate(section.variants):
        stairs = " " * _LABEL + "".join("|".ljust(width) for _ in range(column))
        lines.append(stairs[: COLUMNS - len(variant)] + variant)
    endpoint = ""
    for row in section.rows:
        if row.endpoint != endpoint:
            endpoint = row.endpoint
            lines.append(f"/api/{endpoint}")
        lines += _grid_row(row, width)
    return "\n".join(line.rstrip() for line in lines)


def _grid_row(row: Row, width: int) -> Iterator[str]:
    label = wrap(row.name, _LABEL - 1)
    texts = [wrap(_text(cell), width - 1) for cell in row.cells]
    for line in range(max(map(len, [label, *texts]))):
        drawn_line = (label[line] if line < len(label) else "").ljust(_LABEL)
        for text, cell in zip(texts, row.cells, strict=True):
            piece = text[line] if line < len(text) else ""
            drawn_line += _coloured(piece, cell) + " " * (width - len(piece))
        yield drawn_line


def row_of(row: Row) -> str:
    """One row, a line per cell, with everything that was counted."""
    titles = max(len(cell.variant) for cell in row.cells)
    lines = [f"{row.name}{f'  /api/{row.endpoint}' if row.endpoint else ''}", *wrap(row.situation, COLUMNS)]
    for cell in row.cells:
        counted = ", ".join(f"{name} {count}" for name, count in cell.counts.items() if count)
        text = f"{_text(cell)}{f'  ({counted})' if counted else ''}"
        verdict = _coloured(f"{cell.verdict:<12}", cell)
        lines += _hanging(f"  {cell.variant:<{titles}}  ", verdict, 12, _when(cell), text)
    return "\n".join(line.rstrip() for line in lines)


def _hanging(label: str, verdict: str, verdict_width: int, when: str, text: str) -> list[str]:
    indent = len(label) + verdict_width + len(when) + 2
    first, *rest = wrap(text, COLUMNS - indent) or [""]
    return [f"{label}{verdict}{when}  {first}", *(" " * indent + line for line in rest)]


def _when(cell: Cell) -> str:
    return " " * 10 if cell.answered_ms is None else f"{cell.answered_ms:7.1f} ms"


def cell_opened(row: Row, cell: Cell) -> str:
    """One cell: the verdict, the counts, the timeline, and the source with the line that leaks or waits."""
    where = f"{row.name} /api/{row.endpoint}" if row.endpoint else row.name
    lines = [f"{cell.variant}, {where}: {_coloured(cell.verdict, cell)}", *wrap(row.situation, COLUMNS), ""]
    due = "" if cell.due_ms is None else f", due at {cell.due_ms:g} ms"
    if cell.answered_ms is not None:
        lines.append(f"answered at {cell.answered_ms:g} ms{due}: {_text(cell)}")
    else:
        lines.append(f"{_text(cell)}{due}")
    lines += [f"{name}: {count}" for name, count in cell.counts.items()]
    if cell.timeline:
        lines += ["", *(line[:COLUMNS] for line in drawn(cell.timeline))]
    if cell.source:
        lines.append("")
        for number, line in enumerate(cell.source.splitlines(), 1):
            is_it = number == cell.leak
            shown = f"{'->' if is_it else '  '} {number:3} {line}".rstrip()
            lines.append(click.style(shown, fg="red", bold=True) if is_it else shown)
    return "\n".join(lines)


def footer_of(found: Mapping[str, str]) -> str:
    """found: the versions that were compared. For a library that is missing, how to install it."""
    versions = ", ".join(f"{name} {number}" for name, number in found.items())
    lines = wrap(f"Measured with {versions}.", COLUMNS)
    missing = [name for name, number in found.items() if number == "not installed"]
    if missing:
        lines += wrap(
            f"Not measured without {' and '.join(missing)}: pip install 'fanout-server[lab]'", COLUMNS
        )
    return "\n".join(lines)


def _text(cell: Cell) -> str:
    return "-" if cell.verdict == "not measured" and not cell.text else cell.text


def _coloured(text: str, cell: Cell) -> str:
    colour = _COLOURS[cell.verdict] if text else None
    return click.style(text, fg=colour) if colour else text
