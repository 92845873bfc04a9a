"""The command `fanout lab asyncio`: rows in, the matrix out."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence

import click
from click.shell_completion import CompletionItem

from fanout.lab.side_by_side import matrix
from fanout.lab.side_by_side.cells import Matrix, Section
from fanout.lab.side_by_side.text import cell_opened, footer_of, grid_of, row_of
from fanout.lab.side_by_side.variants import ENDPOINTS, VARIANTS
from fanout.process.exits import DONE


def _complete_rows(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [CompletionItem(name) for name in map(_as_one_word, _known()) if name.startswith(incomplete)]


def _complete_cells(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    rows = dict.fromkeys(row for section in matrix.BY_VARIANT for row in matrix.row_names(section))
    cells = [f"{variant.name}/{_as_one_word(row)}" for variant in VARIANTS for row in rows]
    return [CompletionItem(cell) for cell in cells if cell.startswith(incomplete)]


@click.command("asyncio")
@click.argument("rows", nargs=-1, metavar="[ROW ...]", shell_complete=_complete_rows)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the source of every cell.")
@click.option(
    "--open",
    "opened",
    metavar="VARIANT/ROW",
    shell_complete=_complete_cells,
    help="Show one cell: its timeline, its code, and the line that leaks.",
)
def asyncio_command(rows: tuple[str, ...], as_json: bool, opened: str | None) -> None:
    """Compare asyncio, anyio, threads and Trio: the same race in the same situations.

    Each variant is written as its library's documentation recommends it; best practice comes first. ROW is
    the name of a row (`"slow loser"`, or slow-loser) or of a section (tasks, wire, slots, "one moment").
    Without a ROW, it measures all of them.

    \b
    Examples:
      fanout lab asyncio                                  the matrix
      fanout lab asyncio "slow loser"                     one row, with everything that was counted
      fanout lab asyncio --open "gather/slow loser/all"   one cell, at /api/all
    """
    rows = tuple(map(_known_name, rows))
    if opened is not None:
        _open(opened, as_json)
    elif as_json:
        sections = tuple(_measured(rows))
        click.echo(json.dumps(Matrix(matrix.versions(), sections).to_json(), indent=2))
    else:
        for section in _measured(rows):
            is_whole = not rows or section.name in rows
            text = grid_of(section) if is_whole else "\n\n".join(map(row_of, section.rows))
            click.echo(f"{text}\n")
        click.echo(footer_of(matrix.versions()))
        click.echo("Open a cell: fanout lab asyncio --open 'gather/slow loser'")
    sys.exit(DONE)


def _measured(names: Sequence[str], variants: Sequence[str] = ()) -> Iterator[Section]:
    """Each section as soon as it is measured, with the rows that are asked for."""
    wanted = {name: _rows_of(name, names) for name in matrix.SECTIONS}
    for name, row_names in wanted.items():
        if row_names:
            section = matrix.section(name, row_names, variants)
            rows = tuple(row for row in section.rows if row.name in row_names)
            yield dataclasses.replace(section, rows=rows)


def _known() -> list[str]:
    """The names of all rows and sections."""
    rows = [row for section in matrix.SECTIONS for row in matrix.row_names(section)]
    return list(dict.fromkeys([*rows, *matrix.SECTIONS]))


def _known_name(name: str) -> str:
    for known in _known():
        if _is(known, name):
            return known
    raise click.BadParameter(f"there is no row {name!r}: there are {', '.join(_known())}")


def _as_one_word(name: str) -> str:
    """A shell cannot complete a word that contains spaces."""
    return "-".join(name.replace(",", "").split())


def _rows_of(section: str, names: Sequence[str]) -> tuple[str, ...]:
    every = matrix.row_names(section)
    if not names or section in names:
        return every
    return tuple(row for row in every if row in names)


def _open(place: str, as_json: bool) -> None:
    variant, slash, rest = place.partition("/")
    row_name, _, endpoint = rest.partition("/")
    if not slash or (endpoint and endpoint not in ENDPOINTS):
        raise click.BadParameter(
            f"{place!r} is not VARIANT/ROW or VARIANT/ROW/ENDPOINT, such as 'gather/slow loser/all'"
        )
    if not row_name or any(_is(section, row_name) for section in matrix.SECTIONS):
        raise click.BadParameter(f"{place!r} names no row, such as 'gather/slow loser'")
    row_name = _known_name(row_name)
    known = [each for each in VARIANTS if _is(each.title, variant) or each.name == variant]
    title = known[0].title if known else variant
    rows = [row for section in _measured([row_name], [each.name for each in known]) for row in section.rows]
    found = [
        (row, cell)
        for row in rows
        for cell in row.cells
        if _is(cell.variant, title) and row.endpoint in ("", endpoint or "first")
    ]
    if not found:
        titles = dict.fromkeys(cell.variant for row in rows for cell in row.cells)
        raise click.BadParameter(
            f"there is no variant {variant!r} in this row: there are {'; '.join(titles)}"
        )
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(cell) for _, cell in found], indent=2))
    else:
        click.echo("\n\n".join(cell_opened(row, cell) for row, cell in found))


def _is(title: str, name: str) -> bool:
    """Compares without case and punctuation."""
    return _letters(title) == _letters(name)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))
