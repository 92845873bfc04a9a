"""The loads of the benchmark, each a process of its own on the generator's core, and what it reports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.comparison import NOT_TRUSTED
from benchmarks.programs import HERE
from benchmarks.section import OTHER_CORE
from fanout.tools.load.outcome import ON_TIME

LATE_ALLOWED = 0.01
USEFUL_NEEDED = 0.85
START_S = 1.0  # a generator's interpreter and imports


def open_loop(url: str, endpoint: str, *steps: str, timeout_ms: int = 1000) -> Any:
    """The report of requests that come on schedule: `500x3` is 500 a second for 3 s."""
    return _report("benchmarks.stepped_load", url, endpoint, str(timeout_ms), *steps)


def closed_loop(url: str, clients: int, warmup_s: float, seconds: float) -> Any:
    """The report of clients that each wait for an answer, and ask again at once."""
    return _report("benchmarks.closed_loop", url, "first", "1000", *map(str, (clients, warmup_s, seconds, 0)))


def added_latency(url: str, path: str, rate: float, seconds: float) -> Any:
    return _report("benchmarks.added_latency", url, path, str(rate), str(seconds))


@contextmanager
def beside(loop: str, url: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A load that runs while the body does something else; its report is on its stdout.

    loop: `stepped_load` or `closed_loop`, with its words. Its first request comes about `START_S` later.
    """
    with subprocess.Popen(_command(f"benchmarks.{loop}", url, *words), stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def useful_share(report: Any) -> float:
    share: float = report["useful_share"]
    return share


def on_time_share(report: Any) -> float:
    outcomes = report["outcomes"]
    return float(sum(outcomes.get(outcome, 0) for outcome in ON_TIME) / max(1, report["offered"]))


def doubts(useful: float, late_launches: float) -> str:
    """Why a row is not to be trusted: "" if it is."""
    words = []
    if useful < USEFUL_NEEDED:
        words.append(f"only {useful:.0%} useful")
    if late_launches > LATE_ALLOWED:
        words.append(f"{late_launches:.0%} sent late")
    return f"{NOT_TRUSTED}: {', '.join(words)}" if words else ""


@dataclass(slots=True)
class Cores:
    """How busy each core was between `Cores()` and `shares()`, whoever used it."""

    _before: dict[str, tuple[int, int]] = field(default_factory=lambda: _core_ticks())

    def shares(self) -> list[float]:
        """Busy shares, 0 to 1, core 0 first."""
        after = _core_ticks()
        return [
            (after[name][0] - busy) / max(1, after[name][1] - total)
            for name, (busy, total) in self._before.items()
        ]


def _core_ticks() -> dict[str, tuple[int, int]]:
    """Busy and all ticks of each core."""
    found = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *texts = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, idle, iowait, irq, softirq = map(int, texts[:7])
            busy = user + nice + system + irq + softirq
            found[name] = (busy, busy + idle + iowait)
    return found


def _report(*words: str) -> Any:
    done = subprocess.run(_command(*words), stdout=subprocess.PIPE, check=True, cwd=HERE.parent)
    return json.loads(done.stdout)


def _command(module: str, *words: str) -> list[str]:
    return ["taskset", "-c", str(OTHER_CORE), sys.executable, "-m", module, *words]
