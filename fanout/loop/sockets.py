"""What peers do, all of them at once: the kernel tells of each, and nobody has to ask for it anew.

Trio waits for one socket in one task: a system call for each wait, a task that wakes for each request, and
none that listens while a request runs. So a connection is registered once, with an epoll of our own, for as
long as it lives. The loop waits for that epoll, and Trio's own is one of those it tells of.

Rule 1: who watches is told synchronously, before the tasks of the very pass that hears of it: one that is
        rescheduled for what has come runs in that pass. Unless the pass has told enough: the kernel keeps the
        rest for the next one, and those that leave are kept here.
Rule 2: to watch and to forget are synchronous, and cost a request nothing.
Rule 3: the kernel is asked at least in every third pass. Those between have little to do, and at once: the
        step of a request that another step of it has made ready. To ask before each of them, and to measure
        each, is 4 % of what a request costs.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

from trio._core._io_epoll import EpollIOManager
from trio._core._run import GLOBAL_RUN_CONTEXT

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
_LITTLE: Final = 4  # tasks to run: some tenths of a millisecond
_UNASKED_PASSES: Final = 2  # in a row
_NO_NEWS: Final = [(-1, 0)]  # of no socket: the pass has something to do all the same

Events = list[tuple[int, int]]  # of which descriptor, and what, as epoll names it
Tell = Callable[[int], bool]


class PassWatch(Protocol):
    """Told where each pass of the loop ends and begins, as an instrument of Trio's is.

    Passes for which the kernel is not asked belong to the one before: nothing is heard in between.
    """

    def before_io_wait(self, timeout: float) -> None: ...

    def after_io_wait(self, timeout: float) -> None: ...


class Sockets(EpollIOManager):
    """Trio's I/O manager, and of sockets that are watched."""

    def __init__(self, trios: EpollIOManager) -> None:
        """trios: the run's until now. What it waits for is waited for here."""
        self._epoll = trios._epoll
        self._registered = trios._registered
        self._force_wakeup = trios._force_wakeup
        self._force_wakeup_fd = trios._force_wakeup_fd
        self._sockets = select.epoll()
        # Of each: whether it waits its turn when it leaves, and whom to tell.
        self._watched: dict[int, tuple[bool, Tell]] = {}
        self._leaving: dict[int, int] = {}  # who has yet to be told of what has happened, in order
        self._pass_watch: PassWatch | None = None
        self._runnable = GLOBAL_RUN_CONTEXT.runner.runq
        self._unasked = 0  # passes since the kernel was asked
        self.watch(self._epoll.fileno(), UNREAD, self._tell_trio)

    def watch(self, descriptor: int, events: int, tell: Tell, *, at_once: bool = False) -> None:
        """Call `tell` with what has happened, as epoll names it. It says whether a task has to run for that,
        and must not raise.

        events: `END`, `NEWS` or `UNREAD`. at_once: also when it leaves, and not after others who have left:
            for somebody waits for what it has said before.
        """
        self._sockets.register(descriptor, events)
        self._watched[descriptor] = bool(events & _ONCE) and not at_once, tell

    def forget(self, descriptor: int) -> None:
        """The socket is about to be closed, which is when the kernel forgets it. May be called twice."""
        self._watched.pop(descriptor, None)
        self._leaving.pop(descriptor, None)

    def watch_passes(self, watch: PassWatch | None) -> None:
        """Tell `watch` of every pass, or nobody. To tell an instrument costs three times as much."""
        self._pass_watch = watch

    # What follows is called by Trio, in turn, once a pass.

    def get_events(self, timeout: float) -> Events:
        if self._leaving:
            timeout = 0
        elif not timeout and self._unasked < _UNASKED_PASSES and 0 < len(self._runnable) <= _LITTLE:
            self._unasked += 1
            return []
        self._unasked = 0
        watch = self._pass_watch
        if watch is None:
            events = self._sockets.poll(timeout, _AT_A_TIME)
        else:
            watch.before_io_wait(timeout)
            events = self._sockets.poll(timeout, _AT_A_TIME)
            watch.after_io_wait(timeout)
        return events or (_NO_NEWS if self._leaving else events)

    def process_events(self, events: Events) -> None:
        """What there is to tell in this pass: first of all who sends, then of some who leave."""
        leaving = self._leaving
        told = woken = 0
        most = len(leaving) + _SORTED_A_PASS
        while events:
            for descriptor, what in events:
                watched = self._watched.get(descriptor)
                if watched is not None and what & LEFT and watched[0]:
                    leaving[descriptor] = what
                    continue
                told += 1
                if watched is not None:  # else it ended on its own in this very pass
                    woken += watched[1](what)
            if len(events) < _AT_A_TIME:
                break  # that was all
            if told >= _TOLD_A_PASS or woken >= _WAKES_A_PASS or len(leaving) >= most:
                break
            events = self._sockets.poll(0, _AT_A_TIME)
        if leaving:
            self._tell_some_leavers()

    def close(self) -> None:
        self._sockets.close()
        super().close()

    def _tell_some_leavers(self) -> None:
        for descriptor in list(islice(self._leaving, _LEAVERS_A_PASS)):
            what = self._leaving.pop(descriptor, 0)
            if what:  # else one of those before ended it
                self._watched[descriptor][1](what)

    def _tell_trio(self, events: int) -> bool:
        super().process_events(self._epoll.poll(0, max(1, len(self._registered))))
        return True


def sockets() -> Sockets:
    """Of the current run of Trio, whose I/O manager it becomes when it is asked for first."""
    runner = GLOBAL_RUN_CONTEXT.runner
    manager = runner.io_manager
    if not isinstance(manager, Sockets):
        manager = runner.io_manager = Sockets(manager)
    return manager
