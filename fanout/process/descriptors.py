"""Open files: every request in flight needs a few, so there is room for them before the first one comes."""

from __future__ import annotations

import fcntl
import os
import resource
import socket
from contextlib import suppress
from typing import Final

from fanout.config import Settings, SettingsError

MAX_CONNECTIONS: Final = 10_000  # clients, most of them idle, for one process


def reserve_descriptors(settings: Settings) -> None:
    """Raise the process's soft limit of open files to what the settings need.

    Raises `SettingsError` when the hard limit is below that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.descriptors_needed
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SettingsError(
            f"FANOUT_MAX_IN_FLIGHT={settings.max_in_flight} needs {needed} open files, "
            f"and the limit is {hard}: lower it or raise the limit (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY:
        wanted = needed + MAX_CONNECTIONS
        enough = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, enough), hard))


def make_room_for_descriptors(settings: Settings) -> None:
    """Have the kernel make its table of this process's descriptors as large as it may become.

    The table begins small (64 or 256) and doubles. In a process with threads each time stops the calling
    thread until every core has let go of the old one: 8 to 23 ms, in the middle of a rush. To be called by
    the process that serves: a child's table is as large as what it inherits.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.descriptors_needed + MAX_CONNECTIONS
    highest = (wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)) - 1
    with suppress(OSError), socket.socket() as any_open:  # without it all works as well, a little later
        os.close(fcntl.fcntl(any_open.fileno(), fcntl.F_DUPFD_CLOEXEC, highest))


def connections_allowed(settings: Settings) -> int:
    """How many clients may be connected at once, idle ones included: what the calls leave of the limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, soft - settings.descriptors_needed + settings.max_in_flight)
