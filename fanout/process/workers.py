"""`serve --workers N`: a parent that serves nothing, and N workers, each one process with one loop.

The parent opens every listener, once. What can be wrong with a setting or a port is one line before any
worker exists, and a worker that died leaves its replacement the same ports.

Rule 1: workers are fresh programs, never forks of this one, which has threads and an event loop.
Rule 2: a worker that ends is replaced, unless the end was asked for. The others are not touched.
Rule 3: no worker outlives the parent by more than its own drain (`worker.py`: the leash).
Rule 4: under a watchdog (`sd_notify.py`), the parent watches the workers, and systemd watches the parent. The
    parent ends and replaces a worker whose event loop is stuck, so one stuck worker does not end the requests
    of the others.

All workers accept from one public socket. The alternative, one with SO_REUSEPORT for each worker and held
open here, was measured beside it, 300 new connections a second to two workers, one of them killed and
replaced after 0.9 s: 131 of 1,200 clients waited up to 947 ms in the dead worker's queue, with one socket
nobody more than 9 ms. One socket also lets whoever is free take the next connection, where a hash sends
clients to a worker that is stuck; it still is "a port in use" for a second server of the same user; and it
means the same on macOS. The price is balance when clients come all at once: a hundred were shared up to
81:19 if they kept working, 100:0 if not (SO_REUSEPORT: 58:42 and 60:40), and 59:41 when they came over a
second (62:38).
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Final, TypeVar

import trio
from loguru import logger

from fanout.api.handlers import Endpoints
from fanout.config import Settings
from fanout.process.descriptors import reserve_descriptors
from fanout.process.early_signals import blocked_signals
from fanout.process.exits import DONE, FAILED
from fanout.process.ready import server_urls
from fanout.process.resources import certificate_of, open_transport, tracing_settings
from fanout.process.restarts import keep_running
from fanout.process.run import print_ready, start_logging
from fanout.process.sd_notify import ServiceManager, service_manager
from fanout.process.service import longest_shutdown_s
from fanout.process.signals import stop_on_signals
from fanout.process.worker import Order
from fanout.server.listeners import open_listeners

T = TypeVar("T")

STUCK_MARGIN_S: Final = 1  # beyond the worker's own bounds: it does not answer to anything, so it is killed
# The parent itself may have been stopped, alone or with its workers. Then epoll_wait, which the stop has
# interrupted, reports nothing the first time. So after each wait for a worker, the parent waits again.
SECOND_WAIT_S: Final = 1
START_WITHIN_S: Final = 60  # from a worker's start, which takes a second or two, until it serves
LEAVE_WITHIN_S: Final = 5  # from the end of a worker's leash to its exit; after that it is killed
END_POLL_S: Final = 0.01
_MANY: Final = 4096

_PROGRAM: Final = "from fanout.process.worker import main; main()"


def run_workers(
    settings: Settings, *, warnings: Sequence[str] = (), endpoints: Endpoints | None = None
) -> int:
    """Serve with `settings.workers` processes until a signal has drained them all. Returns the exit code.

    The code is `FAILED` if a worker did not finish its drain: its requests got no answer. A second signal
    ends all workers at once. endpoints: see `run_process`; a function of a module that workers can import.
    Raises `SettingsError` or `ListenError`, each one clear line, before any worker starts.
    """
    reserve_descriptors(settings)  # workers inherit the limit
    open_transport(settings)  # only to find out whether a worker can
    certificate_of(settings)  # likewise
    tracing_settings()  # likewise
    public = open_listeners(settings.bind, "FANOUT_BIND")
    admins = [open_listeners(bind, "FANOUT_ADMIN_BIND") for bind in settings.admin_binds]
    start_logging(settings, warnings)
    workers = Workers(settings, public, admins, service_manager(os.environ), endpoints)
    trio.run(workers.run)
    return FAILED if workers.lost else DONE


class Workers:
    """The workers of one server. Owns the listeners. Run it once.

    lost: how many workers ended abnormally while they drained.
    """

    def __init__(
        self,
        settings: Settings,
        public: Sequence[socket.socket],
        admins: Sequence[Sequence[socket.socket]],
        manager: ServiceManager,
        endpoints: Endpoints | None = None,
    ) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._public = public
        self._admins = admins
        self._manager = manager
        # Asked for while the listeners are open: a signal closes them.
        self._urls = server_urls(settings, public[0], [admin[0] for admin in admins])
        self._longest_shutdown_s = longest_shutdown_s(settings) + STUCK_MARGIN_S
        self._stop = trio.Event()
        self._not_yet_ready = set(range(len(admins)))
        self._ready = trio.Event()
        self._started = [0] * len(admins)
        self.lost = 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(stop_on_signals, self._stop, nursery.cancel_scope)
            nursery.start_soon(self._close_listeners)
            nursery.start_soon(self._keep_manager_informed)
            async with trio.open_nursery() as running:
                for index in range(len(self._admins)):
                    running.start_soon(
                        keep_running, partial(self._run_one, index), partial(_died, index), self._stop
                    )
            nursery.cancel_scope.cancel(reason="every worker has ended")
        logger.info("stopped")

    async def _keep_manager_informed(self) -> None:
        await self._ready.wait()
        await self._manager.keep_informed(self._urls["api"], self._longest_shutdown_s, self._stop)

    async def _close_listeners(self) -> None:
        """Once stopping: what the workers have closed must not stay open here, where nobody accepts."""
        await self._stop.wait()
        logger.info("shutting down: {} workers", len(self._admins))
        for sock in (*self._public, *(sock for admin in self._admins for sock in admin)):
            sock.close()

    async def _run_one(self, index: int) -> str:
        """One worker, from start to end. Returns how it ended. Cancelled, it kills the worker."""
        try:
            process, leash, order = self._start(index)
        except (OSError, MemoryError) as error:  # no descriptor, no memory or no process is left
            await trio.lowlevel.checkpoint()
            return f"could not be started: {error}"
        serves = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._let_go, index, leash, process, serves)
                await self._introduce(order, leash, process, serves)
                if serves.is_set():
                    await self._watch(index, leash, process)
                await _ended(process)
                nursery.cancel_scope.cancel(reason="the worker has ended")
        finally:
            leash.socket.close()
            process.kill()  # if it has ended, this does nothing
            process.wait()  # until the kernel has killed it
        how = _how_it_ended(process.returncode)
        if self._stop.is_set() and serves.is_set() and process.returncode != 0:
            self.lost += 1
            logger.bind(worker=index).error("worker {} {} while it drained", index, how)
        return how

    def _start(self, index: int) -> tuple[subprocess.Popen[bytes], trio.SocketStream, Order]:
        """Start a worker without a thread, which may be unavailable. This blocks, but delays no client."""
        with ExitStack() as inherited:
            public = [sock.fileno() for sock in self._public]
            admin = [sock.fileno() for sock in self._admins[index]]
            ours, theirs = socket.socketpair()
            end = inherited.enter_context(theirs).fileno()
            leash = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
            try:
                inherited.enter_context(blocked_signals())
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _PROGRAM, str(end)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[end, *public, *admin],
                    # The same code as here: -P and this keep the working directory from being imported from.
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                )
            except BaseException:
                ours.close()
                raise
            restarts = self._started[index]
            self._started[index] += 1
            ports = [listeners[0].getsockname()[1] for listeners in self._admins]
            alive_every_s = self._manager.watchdog_s / 2
            order = Order(
                index, self._settings, public, admin, restarts, ports, alive_every_s, self._endpoints
            )
            return process, leash, order

    async def _introduce(
        self, order: Order, leash: trio.SocketStream, process: subprocess.Popen[bytes], serves: trio.Event
    ) -> None:
        """Sets `serves` when the worker does. If it never will, it has died, or hung and got SIGABRT."""
        index = order.index
        with suppress(trio.BrokenResourceError):  # it has died, so it has closed the leash
            await leash.send_all(pickle.dumps(order))
        received = await _receive(leash, START_WITHIN_S)
        if received:
            logger.bind(worker=index, pid=process.pid).info("worker {} is ready", index)
            serves.set()
            self._count_ready(index)
        elif received is None:
            logger.bind(worker=index).error(
                "worker {} does not serve after {} s, so it is ended", index, START_WITHIN_S
            )
            process.send_signal(signal.SIGABRT)  # with PYTHONFAULTHANDLER=1 it leaves a traceback

    def _count_ready(self, index: int) -> None:
        if self._not_yet_ready:
            self._not_yet_ready.discard(index)
            if not self._not_yet_ready and not self._stop.is_set():
                print_ready(self._settings, self._urls)
                self._ready.set()

    async def _watch(self, index: int, leash: trio.SocketStream, process: subprocess.Popen[bytes]) -> None:
        """Returns when the worker has closed its leash, or was silent for too long and got SIGABRT."""
        watchdog_s = self._manager.watchdog_s
        received = await _receive(leash, watchdog_s)
        while received:
            received = await _receive(leash, watchdog_s)
        if received is None:
            logger.bind(worker=index).error(
                "worker {}: its event loop has been stuck for {} s, so it is ended", index, watchdog_s
            )
            process.send_signal(signal.SIGABRT)  # with PYTHONFAULTHANDLER=1 it leaves a traceback

    async def _let_go(
        self, index: int, leash: trio.SocketStream, process: subprocess.Popen[bytes], serves: trio.Event
    ) -> None:
        """When stopping: the worker drains. One that does not end in time is stuck and is killed.

        One that does not serve yet has no requests, and may not read its leash for long.
        """
        await self._stop.wait()
        with suppress(OSError):  # it has died
            leash.socket.shutdown(socket.SHUT_WR)
        await _wait_twice(serves.wait, STUCK_MARGIN_S)
        if serves.is_set():
            await trio.sleep(self._longest_shutdown_s)
            logger.bind(worker=index).error("worker {} does not end: killed", index)
        process.kill()


async def _receive(leash: trio.SocketStream, within_s: float) -> bytes | None:
    """Bytes from the worker. `b""` when it has closed the leash, `None` when it was silent for so long."""
    try:
        return await _wait_twice(partial(leash.receive_some, _MANY), within_s)
    except trio.BrokenResourceError:
        await trio.lowlevel.checkpoint()
        return b""


async def _wait_twice(result: Callable[[], Awaitable[T]], within_s: float) -> T | None:
    """`None` if it did not come within so long, nor within `SECOND_WAIT_S` after that."""
    for seconds in (within_s, SECOND_WAIT_S):
        with trio.move_on_after(seconds):
            return await result()
    return None


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for a worker's end. Its leash closes then or up to a second before, while it writes its log."""
    gives_up_at = trio.current_time() + LEAVE_WITHIN_S
    while process.poll() is None and trio.current_time() < gives_up_at:  # noqa: ASYNC110 - the portable way
        await trio.sleep(END_POLL_S)
    await trio.lowlevel.checkpoint()


def _died(index: int, how: str, pause_s: float) -> None:
    logger.bind(worker=index).error("worker {} {}: another one starts in {} s", index, how, pause_s)


def _how_it_ended(code: int | None) -> str:
    """In words, from a return code of `subprocess`, which is below zero for a signal."""
    if code is None or code >= 0:
        return f"exited with code {code}"
    return f"was ended by signal {-code} ({signal.strsignal(-code)})"
