"""Register a socket once; a callback runs whenever epoll reports it.

Each of Trio's own waits is for one task and one event. That means a system call per wait, a task that wakes
per request, and no task that notices a disconnect while a request runs. So this module registers every
connection once, for its whole life, with its own epoll instance. Trio is unmodified and used by its public
names:

* An instrument drains that epoll in `after_io_wait`: after Trio has waited and before it picks the tasks of
  the iteration. So a task that a callback reschedules runs in the same iteration.
* One system task waits until that epoll is readable. The task makes a sleeping event loop wake. It keeps the
  event loop awake while disconnects are waiting to be delivered.

Rule 1: the instrument never raises, because Trio removes an instrument that raises, and that would end all
        network input. A callback that raises is reported, and its socket is forgotten. If Trio removes the
        instrument anyway, the system task adds it again.
Rule 2: the work per iteration is bounded. epoll keeps the rest for the next iteration. Disconnects are kept
        here and delivered last.
Rule 3: `watch` and `forget` are synchronous and run per connection, never per request.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Final

import trio

LEFT: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR  # FIN, RST, or an error of the socket
# What can be watched. The end: the peer has closed its sending half or the socket, or is gone. Reported once.
END: Final = select.EPOLLRDHUP | select.EPOLLONESHOT
# The end and new bytes, each reported once. A callback that does not read everything must remember that.
NEWS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
# Anything to read, the end included. Reported until it is read.
UNREAD: Final = select.EPOLLIN
_ONCE: Final = select.EPOLLET | select.EPOLLONESHOT
# Bounds per iteration, which keep it short. A request wakes a task; a request that is shed does not.
_AT_A_TIME: Final = 16
_MAX_WOKEN: Final = 32
_MAX_TOLD: Final = 256  # to shed that many takes 3 ms
# Ten thousand disconnects at once would make one long iteration, so each iteration delivers a few of them.
# Behind all of them a client that sends would wait for a second, so it comes first.
_MAX_SORTED: Final = 2048  # takes about 3 ms, too
_MAX_LEAVERS: Final = 16
_RETRY_S: Final = 0.01  # after the system task could not wait, as when the kernel is out of memory

Tell = Callable[[int], bool]
OnCrash = Callable[[BaseException], None]


def _log_crash(crash: BaseException) -> None:
    logging.getLogger(__name__).error("a socket's callback crashed", exc_info=crash)


class Sockets(trio.abc.Instrument):
    """The sockets of one run of Trio. `sockets` makes it in that run; it closes when the run ends."""

    def __init__(self, on_crash: OnCrash = _log_crash) -> None:
        """on_crash: receives an exception that a callback raised. It may be replaced at any time."""
        self.on_crash = on_crash
        self._epoll = select.epoll()
        self._poll = select.poll()  # shared: one for each socket would double what a socket needs
        # For each socket: whether its disconnect waits its turn, and the callback.
        self._watched: dict[int, tuple[bool, Tell]] = {}
        self._leaving: dict[int, int] = {}  # disconnects to be delivered and their events, in order
        self._loop_watch: trio.abc.Instrument | None = None
        self._is_waiting = False  # the system task, for the epoll to become readable
        self._is_called = True  # by Trio, since the system task last woke
        self._has_reported_own = False
        trio.lowlevel.add_instrument(self)
        trio.lowlevel.spawn_system_task(self._wake_the_loop, name="fanout.loop.sockets")

    def watch(self, descriptor: int, events: int, tell: Tell, *, at_once: bool = False) -> None:
        """Call `tell` with epoll's events. It returns whether it woke a task.

        events: `END`, `NEWS` or `UNREAD`. at_once: a disconnect does not wait its turn behind others, because
            a task waits for the bytes that the peer has sent before it.
        """
        if self._epoll.closed:
            return  # the run has ended
        self._epoll.register(descriptor, events)
        self._watched[descriptor] = bool(events & _ONCE) and not at_once, tell

    def forget(self, descriptor: int) -> None:
        """Call it before the socket is closed, which makes the kernel forget it. It may be called twice."""
        self._watched.pop(descriptor, None)
        self._leaving.pop(descriptor, None)

    def is_readable(self, descriptor: int) -> bool:
        """Whether a read would return at once: with bytes, the end, or an error.

        This asks the kernel, because epoll's last report is one iteration old. To try the read and catch
        BlockingIOError would take three times as long.
        """
        try:
            self._poll.register(descriptor, select.POLLIN)
            return bool(self._poll.poll(0))
        finally:
            with suppress(KeyError):  # a signal handler raised before it was registered
                self._poll.unregister(descriptor)

    def watch_iterations(self, watch: trio.abc.Instrument | None) -> None:
        """Call `watch` in every iteration; `None` stops that. A second instrument would cost more."""
        self._loop_watch = watch

    # Trio calls the next two methods once per iteration each.

    def before_io_wait(self, timeout: float) -> None:
        if self._loop_watch is not None:
            try:
                self._loop_watch.before_io_wait(timeout)
            except BaseException as crash:  # noqa: BLE001 - Rule 1
                self._report_own(crash)

    def after_io_wait(self, timeout: float) -> None:
        self._is_called = True
        if self._loop_watch is not None:
            try:
                self._loop_watch.after_io_wait(timeout)
            except BaseException as crash:  # noqa: BLE001 - Rule 1
                self._report_own(crash)
        try:
            events = self._epoll.poll(0, _AT_A_TIME)
            if events or self._leaving:
                self._deliver(events)
        except BaseException as crash:  # noqa: BLE001 - Rule 1
            self._report_own(crash)

    def _deliver(self, events: list[tuple[int, int]]) -> None:
        """Deliver the events of this iteration: first what clients send, then some disconnects."""
        watched, leaving = self._watched, self._leaving
        told = woken = 0
        most = len(leaving) + _MAX_SORTED
        while events:
            for descriptor, what in events:
                try:
                    entry = watched.get(descriptor)
                    if entry is not None and entry[0] and what & LEFT:
                        leaving[descriptor] = what
                        continue
                    told += 1
                    if entry is not None:
                        woken += entry[1](what)
                    else:  # forgotten: closed in this iteration, or open, and then reported for ever
                        with suppress(OSError):
                            self._epoll.unregister(descriptor)
                except BaseException as crash:  # noqa: BLE001 - Rule 1
                    self._drop(descriptor, crash)
            if len(events) < _AT_A_TIME:
                break  # epoll has no more
            if told >= _MAX_TOLD or woken >= _MAX_WOKEN or len(leaving) >= most:
                break
            events = self._epoll.poll(0, _AT_A_TIME)
        if leaving:
            self._deliver_some_disconnects()

    def _deliver_some_disconnects(self) -> None:
        for descriptor in list(islice(self._leaving, _MAX_LEAVERS)):
            try:
                what = self._leaving.pop(descriptor, 0)
                if what:  # else an earlier callback has closed the socket
                    self._watched[descriptor][1](what)
            except BaseException as crash:  # noqa: BLE001 - Rule 1
                self._drop(descriptor, crash)
        if self._leaving and self._is_waiting:
            trio.lowlevel.notify_closing(self._epoll.fileno())  # the system task wakes and keeps us awake

    def _drop(self, descriptor: int, crash: BaseException) -> None:
        """A socket's callback has raised. Its task ends by its timeout; all others go on."""
        self.forget(descriptor)
        with suppress(BaseException):  # nothing is left to report it to
            self.on_crash(crash)

    def _report_own(self, crash: BaseException) -> None:
        """Report an exception that is no callback's. Once only, because it may come in every iteration."""
        if not self._has_reported_own:
            self._has_reported_own = True
            with suppress(BaseException):
                self.on_crash(crash)

    async def _wake_the_loop(self) -> None:
        """The system task. Trio ends the run if it raises."""
        has_failed = False
        try:
            while True:  # noqa: ASYNC913 - every round waits
                try:
                    if has_failed:
                        has_failed = False
                        await trio.sleep(_RETRY_S)
                    while self._leaving:
                        await trio.lowlevel.checkpoint()
                    self._is_waiting = True
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    if not self._is_called:
                        trio.lowlevel.add_instrument(self)  # does nothing if Trio still has it
                    self._is_called = False
                except trio.ClosedResourceError:
                    pass  # disconnects are waiting to be delivered
                except Exception as crash:  # noqa: BLE001 - the kernel or the process may be out of memory
                    has_failed = True
                    self._report_own(crash)
                self._is_waiting = False
        finally:
            self._close()

    def _close(self) -> None:
        self._watched.clear()
        self._leaving.clear()
        self._epoll.close()
        with suppress(KeyError):
            trio.lowlevel.remove_instrument(self)


_of_this_run: Final = trio.lowlevel.RunVar[Sockets | None]("fanout.loop.sockets", None)


def sockets() -> Sockets:
    """The sockets of the current run of Trio, made on first use."""
    ours = _of_this_run.get()
    if ours is None:
        ours = Sockets()
        _of_this_run.set(ours)
    return ours
