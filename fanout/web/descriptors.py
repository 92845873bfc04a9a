"""Open files: every request in flight needs a few, so the limit is checked before the first one comes."""

from __future__ import annotations

import resource

from fanout.config import Settings, SettingsError


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
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
