"""SIGINT and SIGTERM before the event loop listens to them, and after.

While it runs, `fanout.web.signals` listens. Before, there is nothing to drain: the process ends at once,
without a traceback. It does so as a container's first process too, for which the kernel ignores a signal that
has no handler. After, the process ends with its own exit code, which a late signal does not change.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from fanout.exits import SIGNALLED

HANDLED: Final = (signal.SIGINT, signal.SIGTERM)

_has_served = False


def leave_on_signals() -> None:
    """For the first lines of a program, before its imports."""
    for number in HANDLED:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` and shells' background jobs
            signal.signal(number, _leave)


def event_loop_listens() -> None:
    """It does now. When it no longer does, and Trio puts the handlers back, they do nothing."""
    global _has_served  # as the handlers, it belongs to the process
    _has_served = True


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Processes that are started meanwhile have signals blocked until they unblock them themselves.

    No signal is lost, and none ends their imports with a traceback. A terminal sends Ctrl-C to them as well;
    it is their parent's to pass on.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def ignore_late_signals() -> None:
    """For the last line of a program: while the interpreter ends, it would put the kernel's handlers back."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: FrameType | None) -> None:
    if not _has_served:
        os._exit(SIGNALLED + number)
