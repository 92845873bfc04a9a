"""What callers do, all of them at once: the kernel tells of each, and nobody has to ask for it anew. The load
generator hears of its answers in the same way.

Trio waits for one socket in one task: a system call for each wait, a task that wakes for each request, and
none that listens while a request runs. So every connection is registered once with an epoll of our own, for
as long as it lives, and Trio waits for that.

Rule 1: who watches is told synchronously, in the very pass of the loop that hears of it, unless that has told
        enough: the kernel keeps the rest for the next one, and those that leave are kept here.
Rule 2: to watch and to forget are synchronous, and cost a request nothing.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from itertools import islice
from typing import Final

import trio

LEFT: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR  # FIN, or RST, or gone
# What can be watched for: the peer has closed its sending half or the socket, or is gone, which is told once;
END: Final = select.EPOLLRDHUP | select.EPOLLONESHOT
# that, and that bytes have come, each told once: who does not read to the end has to know it;
NEWS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
# that there is something to read, be it the end, told until it was read.
UNREAD: Final = select.EPOLLIN
_ONCE: Final = select.EPOLLET | select.EPOLLONESHOT
# So many at a time, and a pass stays short. Requests wake a task each, but for those that are refused.
_AT_A_TIME: Final = 16
_WAKES_A_PASS: Final = 32
_TOLD_A_PASS: Final = 256  # to refuse so many takes 3 ms
# Ten thousand callers that leave at once would make one long pass, so a few are told of in each. Nor must who
# sends wait behind them: that took a second, and the answers were late by as much as the requests had waited.
_SORTED_A_PASS: Final = 2048  # takes about 3 ms, too
_LEAVERS_A_PASS: Final = 16

Tell = Callable[[int], bool]


class Poller:
    """Tells of peers that send or leave, while `run` runs. One a driver."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._watched: dict[int, tuple[int, Tell]] = {}
        self._leaving: dict[int, int] = {}  # who has yet to be told of what has happened, in order

    def watch(self, descriptor: int, events: int, tell: Tell) -> None:
        """Call `tell` with what has happened, as epoll names it. It says whether a task has to run for that,
        and must not raise.

        events: `END`, `NEWS` or `UNREAD`.
        """
        self._watched[descriptor] = events, tell
        if self._epoll is not None:
            self._epoll.register(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """The socket is about to be closed, which is when the kernel forgets it. May be called twice."""
        self._watched.pop(descriptor, None)
        self._leaving.pop(descriptor, None)

    async def run(self) -> None:
        """Tell, until cancelled."""
        with select.epoll() as self._epoll:
            try:
                for descriptor, (events, _) in self._watched.items():
                    self._epoll.register(descriptor, events)
                while True:
                    if self._leaving:
                        await trio.lowlevel.checkpoint()
                    else:
                        await trio.lowlevel.wait_readable(self._epoll.fileno())
                    self._tell(self._epoll)
            finally:
                self._epoll = None
                self._leaving.clear()

    def _tell(self, epoll: select.epoll) -> None:
        """What there is to tell in this pass: first of all who sends, then of some who leave."""
        leaving = self._leaving
        told = woken = 0
        most = len(leaving) + _SORTED_A_PASS
        while told < _TOLD_A_PASS and woken < _WAKES_A_PASS and len(leaving) < most:
            events = epoll.poll(0, _AT_A_TIME)
            for descriptor, what in events:
                watched = self._watched.get(descriptor)
                if watched is not None and what & LEFT and watched[0] & _ONCE:
                    leaving[descriptor] = what
                    continue
                told += 1
                if watched is not None:  # else it ended on its own in this very pass
                    woken += watched[1](what)
            if len(events) < _AT_A_TIME:
                break  # that was all
        for descriptor in list(islice(leaving, _LEAVERS_A_PASS)):
            what = leaving.pop(descriptor, 0)
            if what:  # else one of those before ended it
                self._watched[descriptor][1](what)
