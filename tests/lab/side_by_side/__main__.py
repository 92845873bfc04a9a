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
from dataclasses import asdict

from fanout.lab.side_by_side import tasks


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
    digests = Counter(_digest() for _ in range(runs))
    for digest, count in digests.items():
        sys.stdout.write(f"Python {platform.python_version()}: {count} of {runs} runs are {digest}\n")
    return set(digests)


def _digest() -> str:
    section = json.dumps(asdict(tasks.section()), sort_keys=True)
    return hashlib.sha256(section.encode()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
