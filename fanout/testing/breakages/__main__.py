"""Run a program of fanout with a breakage: `python -m fanout.testing.breakages NAME MODULE [ARGUMENTS]`.

    python -m fanout.testing.breakages losers_not_cancelled fanout demo

No file changes. The exit code is the program's, or 2 with one line that says why the breakage is not applied.
"""

import runpy
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from fanout.process.exits import REFUSED
from fanout.testing.breakages.hook import ImportedAlready, OutOfReach, install
from fanout.testing.breakages.patches import DoesNotApply, breakages


def main(arguments: Sequence[str]) -> None:
    known = breakages()
    if len(arguments) < 2 or arguments[0] not in known:
        _refuse(f"NAME MODULE [ARGUMENTS] are needed, and NAME is one of {', '.join(known)}")
    name, module, *_ = arguments
    try:
        install(known[name])
    except (DoesNotApply, ImportedAlready) as error:
        _refuse(f"{name} cannot be applied: {str(error).splitlines()[0].rstrip(':')}")
    sys.argv = list(arguments[1:])
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except OutOfReach:
        _refuse(f"{name} does not reach the processes of --workers: leave it out, or give 1")


def _refuse(line: str) -> NoReturn:
    click.echo(f"breakages: {line}", err=True)
    sys.exit(REFUSED)


if __name__ == "__main__":
    main(sys.argv[1:])
