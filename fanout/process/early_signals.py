"""Handles SIGINT and SIGTERM before and after the event loop does.

While the event loop runs, `fanout.process.signals` handles them. Before that there is nothing to drain: the
process ends at once, without a traceback. So it does as a container's first process, for which the kernel
ignores signals without a handler. Afterwards the process ends with its own exit code, which a late signal
does not change.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from fanout.process.exits import SIGNALLED

HANDLED: Final = (signal.SIGINT, signal.SIGTERM)

_has_served = False


def leave_on_signals() -> None:
    """Call it in the first lines of a program, before its imports."""
    for number in HANDLED:
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` and shells' background jobs
            signal.signal(number, _leave)


def event_loop_listens() -> None:
    """From now on the event loop handles signals. Afterwards the handlers of this module do nothing."""
    global _has_served  # like the handlers, it belongs to the process
    _has_served = True


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Processes started inside have signals blocked until they unblock them themselves.

    No signal is lost, and none ends their imports with a traceback. A terminal sends Ctrl-C to them as well;
    their parent passes the signal on.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def ignore_late_signals() -> None:
    """Call it in the last line of a program: at its end the interpreter restores the kernel's handlers."""
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: FrameType | None) -> None:
    if not _has_served:
        os._exit(SIGNALLED + number)
