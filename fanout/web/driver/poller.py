"""What callers do, all of them at once: the kernel tells of each, and nobody has to ask for it anew.

Trio waits for one socket in one task: a system call for each wait, a task that wakes for each request, and
none that listens while a request runs. So every connection is registered once with an epoll of our own, for
as long as it lives, and Trio waits for that.

Rule 1: who watches is told in the very pass of the loop that hears of it, synchronously.
Rule 2: to watch and to forget are synchronous, and cost a request nothing.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Final

import trio

LEFT: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR  # FIN, or RST, or gone
# What can be watched for: the peer has closed its sending half or the socket, or is gone, which is told once;
END: Final = select.EPOLLRDHUP | select.EPOLLONESHOT
# that, and that bytes have come, each told once: who does not read to the end has to know it;
NEWS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
# that there is something to read, be it the end, told until it was read.
UNREAD: Final = select.EPOLLIN
_AT_A_TIME: Final = 256  # then the others of the loop get a turn: to refuse so many takes 3 ms

Tell = Callable[[int], None]


class Poller:
    """Tells of callers that send or leave, while `run` runs. One a driver."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._watched: dict[int, tuple[int, Tell]] = {}

    def watch(self, descriptor: int, events: int, tell: Tell) -> None:
        """Call `tell` with what has happened, as epoll names it. It must not raise.

        events: `END`, `NEWS` or `UNREAD`.
        """
        self._watched[descriptor] = events, tell
        if self._epoll is not None:
            self._epoll.register(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """The socket is about to be closed, which is when the kernel forgets it. May be called twice."""
        self._watched.pop(descriptor, None)

    async def run(self) -> None:
        """Tell, until cancelled."""
        with select.epoll() as self._epoll:
            try:
                for descriptor, (events, _) in self._watched.items():
                    self._epoll.register(descriptor, events)
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    for descriptor, events in self._epoll.poll(0, _AT_A_TIME):
                        watched = self._watched.get(descriptor)
                        if watched is not None:  # else it ended on its own in this very pass
                            watched[1](events)
            finally:
                self._epoll = None
