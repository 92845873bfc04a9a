"""The figures of docs/guarantees.md: kept in docs/figures/guarantees.json, shown as tables in the document.

    python -m tests.project.figures                             write the tables again, from the JSON
    make breakages | python -m tests.project.figures breakages  take the table that a command has printed

A table stands between `<!-- figures: NAME -->` and `<!-- end -->`. One that has no rows yet is not shown.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs/guarantees.md"
FIGURES: Final = ROOT / "docs/figures/guarantees.json"
_TABLE: Final = re.compile(r"(?<=<!-- figures: )(\S+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)

Tables = dict[str, Any]
"""By name: {"title": str, "command": str, "measured": date and commit, "columns": [str], "rows": [[str]]}"""


def load() -> Tables:
    tables: Tables = json.loads(FIGURES.read_text("utf-8"))
    return tables


def shown(document: str, tables: Tables) -> str:
    """The document with these tables between their marks. Raises `KeyError` for a mark without a table."""
    return _TABLE.sub(lambda mark: f"{mark[1]}{mark[2]}{_markdown(tables[mark[1]])}", document)


def marks(document: str) -> list[str]:
    return [name for name, _ in _TABLE.findall(document)]


def taken(tables: Tables, name: str, printed: str, measured: str) -> Tables:
    """The tables with the rows of `name` from what a command has printed, markdown among other lines."""
    columns, _, *rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in printed.splitlines()
        if line.startswith("|")
    ]
    return {**tables, name: {**tables[name], "measured": measured, "columns": columns, "rows": rows}}


def _markdown(table: Any) -> str:
    if not table["rows"]:
        return ""
    lines = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
    rows = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    when = f" ({table['measured']})" if "measured" in table else ""
    return f"\n{table['title']}, `{table['command']}`{when}:\n\n{rows}\n"


def _commit() -> str:
    """The commit that is checked out, and whether it is changed."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@click.command()
@click.argument("name", required=False)
def main(name: str | None) -> None:
    """NAME: the table that stands on standard input."""
    tables = load()
    if name is not None:
        tables = taken(tables, name, sys.stdin.read(), f"{datetime.now(UTC):%Y-%m-%d}, commit {_commit()}")
        FIGURES.write_text(json.dumps(tables, indent=2, ensure_ascii=False) + "\n", "utf-8")
    DOCUMENT.write_text(shown(DOCUMENT.read_text("utf-8"), tables), "utf-8")


if __name__ == "__main__":
    main()
