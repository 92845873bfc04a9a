"""`make upstreaming`: run the reproduction of each report, and say which defects are still there.

Exit code 1 when a reproduction no longer shows what docs/upstreaming.md says.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import click

from tests.upstreaming.reports import DOCUMENT, Report, Run, reports_in


@click.command()
def main() -> None:
    """Print a line for each reproduction; then, what to do about those that show something else."""
    differences: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = [(report, run) for report in reports_in(DOCUMENT.read_text("utf-8")) for run in report.runs]
        for (report, run), difference in zip(
            runs, pool.map(lambda pair: _difference(*pair), runs), strict=True
        ):
            library = report.library(run)
            found = report.lacks or difference.partition(". ")[0] or "still there"
            click.echo(f"{library + ' ' + version(library):<22} {run!s:<36} {found}")
            differences += [difference] if difference else []
    click.echo("\n".join(["", *differences]) if differences else "")
    sys.exit(1 if differences else 0)


def _difference(report: Report, run: Run) -> str:
    return "" if report.lacks else report.difference(run, run.execute())


if __name__ == "__main__":
    main()
