"""The server on a real network that is harmed on purpose: the short form; `make chaos` has the long one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.namespaces import why_not
from tests.chaos.run import run_chaos

pytestmark = [pytest.mark.alone, pytest.mark.long, pytest.mark.same_on_every_python]

SEED = 7
SECONDS = 20.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def possible() -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.timeout(240)
async def test_no_network_and_no_dying_process_breaks_a_guarantee() -> None:
    """G1, G2, G3, G6, G7, G9, G10, G11, as a client can observe them, over a network that fails."""
    said: list[str] = []
    report = await run_chaos(SEED, SECONDS, said.append, patient=False)
    assert report.broken == [], said
    assert len(said) > 5
    assert sum(sum(told.answers.values()) for told in report.told.values()) > 50
    assert all("lost=0" not in packets for packets in report.packets.values())
    assert our_namespaces(os.getpid()) == []


@pytest.mark.timeout(120)
def test_ctrl_c_leaves_nothing_behind() -> None:
    """Namespaces and processes: the next run, and the machine, start as before."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--minutes", "1", "--seed", f"{SEED}"],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    with process.stdout:
        lines = iter(process.stdout.readline, b"")
        assert b"seed 7" in next(lines)
        assert b" to " in next(lines)  # the first step: everything runs
        pids = [pid for name in our_namespaces(process.pid) for pid in pids_in(name)]
        assert len(pids) >= 8
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 1
    assert our_namespaces(process.pid) == []
    for _ in range(100):  # a worker is killed, and reaped by whoever adopts it
        if not any(map(is_running, pids)):
            break
        time.sleep(0.1)
    assert [pid for pid in pids if is_running(pid)] == []


def is_running(pid: str) -> bool:
    """A zombie is not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def our_namespaces(pid: int) -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in listed.splitlines() if f"-{pid}-" in line]


def pids_in(namespace: str) -> list[str]:
    found = subprocess.run(["ip", "netns", "pids", namespace], check=True, capture_output=True, text=True)
    return found.stdout.split()
