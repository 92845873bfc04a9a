"""A process's sockets and threads as the kernel lists them in /proc. No counter of fanout is involved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_OPEN: Final = ("01", "08")  # ESTABLISHED, and CLOSE_WAIT: the other side has closed, this one has not
_CONNECTING: Final = "02"


def is_known() -> bool:
    """Whether this system has such tables."""
    return Path("/proc/self/net/tcp").exists()


def sockets_to(pid: int, port: int) -> int:
    """How many TCP sockets of the process are open to this port, or being connected to it."""
    own = _inodes(pid)
    count = 0
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text("ascii").splitlines()[1:]:
            _, _, remote, state, *rest = line.split()
            to_port = int(remote.rpartition(":")[2], 16) == port
            if to_port and state in (*_OPEN, _CONNECTING) and rest[5] in own:
                count += 1
    return count


def threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _inodes(pid: int) -> set[str]:
    """The inodes of its sockets."""
    inodes = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
        except FileNotFoundError:  # closed since it was listed
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes
