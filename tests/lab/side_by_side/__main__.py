"""Measure the task rows of `fanout lab asyncio` again and again: `python -m tests.lab.side_by_side --help`.

Exit code 1 if two runs differ, on one Python or between Pythons.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import subprocess
import sys
from collections import Counter
from itertools import product

from fanout.lab.side_by_side import cell_process, tasks
from fanout.lab.side_by_side.process import values_from
from fanout.lab.side_by_side.variants import ENDPOINTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="make lab-rows", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--runs", type=int, default=20, help="on each Python (default: 20)")
    parser.add_argument(
        "--python", action="append", default=[], help="another interpreter with fanout installed"
    )
    arguments = parser.parse_args()
    digests = _measure(arguments.runs)
    for python in arguments.python:
        command = [python, "-m", "tests.lab.side_by_side", "--runs", str(arguments.runs)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        sys.stdout.write(done.stdout)
        digests |= {line.rpartition(" ")[2] for line in done.stdout.splitlines()} or {f"none from {python}"}
    return 0 if len(digests) == 1 else 1


def _measure(runs: int) -> set[str]:
    """In two processes for each event loop, so that hashes differ too."""
    half = runs // 2
    digests = Counter(digest for rounds in (half, runs - half) if rounds for digest in _digests(rounds))
    for digest, count in digests.items():
        sys.stdout.write(f"Python {platform.python_version()}: {count} of {runs} runs are {digest}\n")
    return set(digests)


def _digests(rounds: int) -> list[str]:
    hashes = [hashlib.sha256() for _ in range(rounds)]
    for runtime in ("asyncio", "trio", "trio_asyncio"):
        names = [variant.name for variant in tasks.COMPARED if variant.runtime == runtime]
        places = list(product(names, tasks.ROW_NAMES, ENDPOINTS))
        request = {"runtime": runtime, "cells": places * rounds, "readers": None}
        seen = [value for value in values_from(cell_process.__name__, request) if "cell" in value]
        assert len(seen) == len(places) * rounds
        for number, value in enumerate(seen):
            hashes[number // len(places)].update(json.dumps(value, sort_keys=True).encode())
    return [each.hexdigest()[:16] for each in hashes]


if __name__ == "__main__":
    sys.exit(main())
