"""`make lab-sockets`: the rows on sockets, again and again. Exit code 1 if a verdict or a count differs.

Times differ from run to run, so does what is counted of a leak at one moment. A verdict must not.
"""

from __future__ import annotations

import sys
import time

import click

from fanout.lab.side_by_side import slots, wire
from fanout.lab.side_by_side.cells import Section
from tests.lab.side_by_side.cells import every_cell

Verdicts = dict[tuple[str, str, str], str]


def verdicts_of(section: Section) -> Verdicts:
    """Of slots with their text, which is a count."""
    return {
        (
            section.name,
            row.name,
            cell.variant,
        ): f"{cell.verdict} {cell.text if section.name == 'slots' else ''}"
        for row, cell in every_cell(section)
    }


@click.command()
@click.option("--runs", default=20, show_default=True, help="How often.")
@click.option(
    "--section",
    "names",
    type=click.Choice(["wire", "slots"]),
    multiple=True,
    default=("wire", "slots"),
    help="Which rows; repeatable. By default both.",
)
def main(runs: int, names: tuple[str, ...]) -> None:
    seen: dict[tuple[str, str, str], list[str]] = {}
    for run in range(1, runs + 1):
        for name in names:
            began_at = time.monotonic()
            section = (wire if name == "wire" else slots).section()
            for place, verdict in verdicts_of(section).items():
                seen.setdefault(place, []).append(verdict)
            click.echo(f"run {run}: {name}, {time.monotonic() - began_at:.1f} s")
    changed = {place: verdicts for place, verdicts in seen.items() if len(set(verdicts)) > 1}
    for (section_name, row, variant), verdicts in changed.items():
        each = ", ".join(f"{verdicts.count(verdict)} times {verdict}" for verdict in sorted(set(verdicts)))
        click.echo(f"{section_name}, {row}, {variant}: {each}")
    click.echo(f"{len(seen) - len(changed)} of {len(seen)} cells came out the same in {runs} runs")
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
