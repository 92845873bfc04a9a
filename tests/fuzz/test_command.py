"""The command, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def test_its_workers_end_with_it() -> None:
    arguments = "-m tests.fuzz --only http2_head --seconds 60 --processes 1"
    with subprocess.Popen([sys.executable, *arguments.split()], stdout=subprocess.PIPE) as program:
        children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
        # A worker, and the process that multiprocessing starts to count resources.
        waited = _wait_until(lambda: len(children.read_text().split()) == 2)
        workers = [Path("/proc", pid) for pid in children.read_text().split()]
        program.send_signal(signal.SIGKILL)
    assert waited
    assert _wait_until(lambda: not any(worker.exists() for worker in workers))


def _wait_until(condition: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.02)
    return False
