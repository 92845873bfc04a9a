"""Which formulas a broken tree breaks: `python -m tests.testing.monitor.look RUNS REQUESTS`.

Prints one line of JSON. first: for each formula how many requests were simulated until it was broken.
judged: in how many of the runs the judge saw something. alone: those in which only one of the two did.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from typing import Any

import click

from fanout.testing.world.sweep import run_seed
from tests.breakages.search import STUCK_S


def look(runs: int, requests: int) -> dict[str, Any]:
    first: dict[str, int] = {}
    tried, judged, alone = 0, 0, []
    for seed in range(runs):
        faulthandler.dump_traceback_later(STUCK_S, exit=True)
        report = run_seed(seed, requests)
        faulthandler.cancel_dump_traceback_later()
        tried += report.requests
        judged += bool(report.violations)
        for guarantee in report.formulas:
            first.setdefault(guarantee, tried)
        if report.disagree:
            who = (
                f"the judge: {report.violations[0]}"
                if report.violations
                else f"the monitor: {report.formulas}"
            )
            alone.append(f"seed {seed}, only {who}")
    return {"first": first, "runs": runs, "judged": judged, "alone": alone}


if __name__ == "__main__":
    click.echo(json.dumps(look(int(sys.argv[1]), int(sys.argv[2]))))
