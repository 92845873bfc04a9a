"""A signal at each moment of a start: `python -m tests.blackbox.signals --step 10` is the long form."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product

FREE = ("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0")
COMMANDS = {
    "serve": ("serve", *FREE, "--upstream", "http://127.0.0.1:1/"),
    "workers": ("serve", *FREE, "--upstream", "http://127.0.0.1:1/", "--workers", "2"),
    "demo": ("demo", *FREE),
    "upstream": ("upstream", "--bind", "127.0.0.1:0"),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM)
WITHIN_S = 45
# Until our first line has run a signal is Python's own: it ends the process, or is a traceback of imports.
_PYTHONS_OWN = re.compile(r"/fanout/(?!__init__|__main__|early_signals|exits)\w+")


def wrong_end(command: str, after_ms: int, number: signal.Signals) -> str | None:
    """Send a signal to the whole group, as a terminal does. What is wrong with how the command ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fanout", *COMMANDS[command]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    time.sleep(after_ms / 1000)
    os.killpg(process.pid, number)
    try:
        said = process.communicate(timeout=WITHIN_S)[1].decode()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    is_early = process.returncode in (1, -signal.SIGINT) and _PYTHONS_OWN.search(said) is None
    is_pythons = number is signal.SIGINT and is_early
    if is_pythons or (process.returncode in (0, 128 + number, -number) and "Traceback" not in said):
        return None
    return f"{command}, {number.name} after {after_ms} ms: exit code {process.returncode}\n{said}"


def wrong_ends(step_ms: int, until_ms: int) -> list[str]:
    cases = list(product(COMMANDS, range(0, until_ms + 1, step_ms), SIGNALS))
    with ThreadPoolExecutor(4) as threads:
        ends = threads.map(lambda case: wrong_end(*case), cases)
        return [end for end in ends if end is not None]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=10, help="milliseconds")
    parser.add_argument("--until", type=int, default=1500, help="milliseconds")
    options = parser.parse_args()
    found = wrong_ends(options.step, options.until)
    sys.stdout.write("\n".join([*found, f"{len(found)} wrong ends\n"]))
    sys.exit(bool(found))
