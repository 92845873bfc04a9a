"""A sleep that wakes within microseconds.

Why: epoll's own time-out is rounded up to whole milliseconds, which would make every send late by half
a millisecond on average. Linux's timerfd is exact and is waited for like a socket. Elsewhere (kqueue) Trio's
own sleep is exact enough. `os.timerfd_create` exists from Python 3.13 only, so libc is called directly.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

_CLOCK_MONOTONIC = 1


@contextmanager
def precise_timer() -> Iterator[Callable[[float], Awaitable[None]]]:
    """Lend one `sleep_until(deadline)` on Trio's real clock; for one task at a time."""
    if sys.platform != "linux":
        yield trio.sleep_until
        return
    libc = ctypes.CDLL(None, use_errno=True)
    timer = libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if timer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

    async def sleep_until(deadline: float) -> None:
        """Sleep until Trio's clock shows `deadline`. Setting the timer again clears its last expiry."""
        seconds = max(deadline - trio.current_time(), 1e-9)  # zero would disarm the timer
        whole = int(seconds)
        spec = (ctypes.c_long * 4)(0, 0, whole, max(int((seconds - whole) * 1e9), 1))
        libc.timerfd_settime(timer, 0, spec, None)
        await trio.lowlevel.wait_readable(timer)

    try:
        yield sleep_until
    finally:
        os.close(timer)
