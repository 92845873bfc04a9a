"""Try simulation runs until one breaks a guarantee: `python -m tests.breakages.search WORLDS REQUESTS`.

Prints one line of JSON: how many requests were simulated (those of the last world included), what was wrong.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from typing import Final

import click

from fanout.testing.world.sweep import run_seed

STUCK_S: Final = 60.0  # a run takes less than a second


def search(worlds: int, requests: int) -> tuple[int, str | None]:
    """How many requests were simulated, and what was wrong in the last world, if anything was."""
    tried = 0
    for seed in range(worlds):
        faulthandler.dump_traceback_later(STUCK_S, exit=True)
        report = run_seed(seed, requests)
        faulthandler.cancel_dump_traceback_later()
        tried += report.requests
        if report.violations:
            return tried, f"seed {seed}: {report.violations[0]}"
    return tried, None


if __name__ == "__main__":
    tried, wrong = search(int(sys.argv[1]), int(sys.argv[2]))
    click.echo(json.dumps({"tried": tried, "wrong": wrong}))
