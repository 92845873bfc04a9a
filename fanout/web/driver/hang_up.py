"""Who has left, of all callers at once: the kernel tells, and no request needs a task to listen for it.

Trio waits for bytes, and a caller that leaves may have sent some that nobody reads yet. So every connection
is registered once with an epoll of our own that knows nothing but ends (FIN, RST), and Trio waits for that.

Rule 1: each connection is told once, in the very pass of the loop that hears of it.
Rule 2: to watch and to forget are synchronous, and cost a request nothing.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Final

import trio

# Once; HUP and ERR always count. Behind a FIN nothing comes, so there is nothing to be told twice.
_ENDS: Final = select.EPOLLRDHUP | select.EPOLLONESHOT


class HangUps:
    """Tells of callers that leave, while `run` runs. One a driver."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._tell: dict[int, Callable[[], None]] = {}

    def watch(self, descriptor: int, tell: Callable[[], None]) -> None:
        """Call `tell` when the peer of this socket has closed it, or its sending half, or is gone."""
        self._tell[descriptor] = tell
        if self._epoll is not None:
            self._epoll.register(descriptor, _ENDS)

    def forget(self, descriptor: int) -> None:
        """The socket is about to be closed, which is when the kernel forgets it. May be called twice."""
        self._tell.pop(descriptor, None)

    async def run(self) -> None:
        """Tell, until cancelled."""
        with select.epoll() as self._epoll:
            try:
                for descriptor in self._tell:
                    self._epoll.register(descriptor, _ENDS)
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    for descriptor, _ in self._epoll.poll(0):
                        tell = self._tell.get(descriptor)
                        if tell is not None:  # else it ended on its own in this very pass
                            tell()
            finally:
                self._epoll = None
