"""`make formulas`: break a copy of the tree, simulate, and see which formulas the monitor finds broken.

Exit code 1 when a breakage no longer breaks a formula that `SEEN` names, and when the judge sees one that the
monitor does not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import click

from fanout.testing.breakages.patches import Breakage, breakages, read
from fanout.testing.monitor.formulas import FORMULAS
from tests.breakages.tree import apply, copy_of_tree
from tests.testing.monitor.seen import SEEN

RUNS: Final = 10
REQUESTS: Final = 100  # per run
_PATIENCE_S: Final = 600
_OURS: Final = Path(__file__).parent  # patches for formulas that no other breakage breaks


def all_breakages() -> dict[str, Breakage]:
    return breakages() | {path.stem: read(path) for path in sorted(_OURS.glob("*.patch"))}


@click.command()
@click.argument("names", nargs=-1)
@click.option("--why", is_flag=True, help="Print also what only one of the judge and the monitor has seen.")
def main(names: tuple[str, ...], why: bool) -> None:
    """NAMES: some breakages; none: all."""
    known = all_breakages()
    if not known.keys() >= set(names):
        raise click.BadParameter(f"there are {', '.join(known)}")
    wrong: list[str] = []
    click.echo(
        "| breakage | breaks | formulas broken, after how many requests | seen by the judge, of 10 runs |"
    )
    click.echo("| --- | --- | --- | --- |")
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        for name, found in threads.map(lambda name: (name, look(known[name])), names or known):
            first = found["first"]
            cells = ", ".join(f"{each} ({first[each]})" for each in FORMULAS if each in first) or "–"
            click.echo(f"| `{name}` | {', '.join(known[name].guarantees)} | {cells} | {found['judged']} |")
            blind = [each for each in SEEN[name] if each not in first]
            wrong += [f"{name} no longer breaks the formula of {each}" for each in blind]
            if found["judged"] and not first:
                wrong.append(f"{name}: the judge sees it, and the monitor does not")
            if why:
                for line in found["alone"]:
                    click.echo(f"    {line}")
    for line in wrong:
        click.echo(line, err=True)
    raise SystemExit(1 if wrong else 0)


def look(breakage: Breakage) -> Any:
    """What `tests.testing.monitor.look` has found in a tree with this breakage."""
    with tempfile.TemporaryDirectory(prefix="formulas-") as folder:
        tree = copy_of_tree(Path(folder))
        apply(breakage.diff, tree)
        done = subprocess.run(
            [sys.executable, "-m", "tests.testing.monitor.look", str(RUNS), str(REQUESTS)],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(f"{breakage.name}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
