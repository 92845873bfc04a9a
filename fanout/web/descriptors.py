"""Open files: every request in flight needs a few, so the limit is checked before the first one comes."""

from __future__ import annotations

import resource
from typing import Final

from fanout.config import Settings, SettingsError

MAX_CONNECTIONS: Final = 10_000  # callers, most of them idle, for one process


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


def connections_allowed(settings: Settings) -> int:
    """How many callers may be connected at once, idle ones included: what the calls leave of the limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, soft - settings.descriptors_needed + settings.max_in_flight)
