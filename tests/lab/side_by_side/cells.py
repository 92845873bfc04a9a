"""Cells by their row and their variant, for tests."""

from __future__ import annotations

from collections.abc import Iterator

from fanout.lab.side_by_side.cells import Cell, Row, Section


def cell(section: Section, variant: str, row: str, endpoint: str = "first") -> Cell:
    (found,) = [
        cell
        for each in section.rows
        for cell in each.cells
        if (each.name, each.endpoint, cell.variant) == (row, endpoint, variant)
    ]
    return found


def every_cell(section: Section) -> Iterator[tuple[Row, Cell]]:
    for row in section.rows:
        for each in row.cells:
            yield row, each
