"""What a running process, its threads and its children have used, from Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path
from time import clock_gettime, monotonic, sleep

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CLOCK_OF_PROCESS = 2  # in Linux's numbers of clocks; what clock_getcpuclockid(3) returns
_QUIET_SHARE = 0.03
_LOOK_S = 0.2
_QUIET_WITHIN_S = 6.0


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += family(int(child))
    return found


def cpu_s(pid: int) -> float:
    """Processor time of the process and its descendants, to the nanosecond, with threads that have ended."""
    return sum(clock_gettime(~member << 3 | _CLOCK_OF_PROCESS) for member in family(pid))


def user_and_system_s(pid: int) -> tuple[float, float]:
    """The same of one process, split, to a hundredth of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / _TICKS_PER_S, int(fields[12]) / _TICKS_PER_S


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("Linux always says VmRSS")


def wait_until_quiet(pid: int) -> None:
    """Until it has worked off what it was asked, so that the next one has the core to itself."""
    give_up_at = monotonic() + _QUIET_WITHIN_S
    used = cpu_s(pid)
    while monotonic() < give_up_at:
        sleep(_LOOK_S)
        before, used = used, cpu_s(pid)
        if (used - before) / _LOOK_S < _QUIET_SHARE:
            return
