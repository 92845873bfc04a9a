"""One worker: a fresh process that serves on listeners it has inherited, under the parent of `workers.py`.

A socket pair, the leash, connects the two. The worker reads its `Order` from it and writes one byte when it
serves. Under a watchdog, its event loop writes another byte at intervals. After the order, the leash can only
end: the parent closes its side to make the worker drain, and the kernel closes it when the parent is gone,
whatever killed it. The worker does the same in both cases. No signal makes a worker drain, so a Ctrl-C, which
a terminal sends to every process of the group, is one signal to each of them.
"""

from __future__ import annotations

import pickle
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio
from loguru import logger

from fanout.api.handlers import Endpoints
from fanout.config import Settings, SettingsError
from fanout.observe.log import report_crash
from fanout.process.early_signals import ignore_late_signals, leave_on_signals
from fanout.process.exits import FAILED, REFUSED
from fanout.process.resources import certificate_of, open_transport, tracing_settings
from fanout.process.run import serve_until_stopped, start_logging
from fanout.process.service import Service

ALIVE: Final = b"a"


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to serve. The listeners are descriptors that it has inherited.

    restarts: how many processes of the same index there were before. admin_ports: those of all workers.
    alive_every_s: how often the worker reports that its event loop runs; `inf`: only once, when it serves.
    endpoints: a function of a module, which the worker imports: it is pickled by its name.
    """

    index: int
    settings: Settings
    public: Sequence[int]
    admin: Sequence[int]
    restarts: int
    admin_ports: Sequence[int]
    alive_every_s: float
    endpoints: Endpoints | None = None


def main() -> None:
    """Serve until told to stop. The one argument is the descriptor of the leash.

    The parent has blocked signals; the event loop unblocks them when it handles them.
    """
    leave_on_signals()
    try:
        _main()
    except Exception as error:
        if not report_crash("the worker has crashed", error):
            raise
        sys.exit(FAILED)
    finally:
        ignore_late_signals()


def _main() -> None:
    leash = socket.socket(fileno=int(sys.argv[1]))
    try:
        with leash.makefile("rb") as file:
            order: Order = pickle.load(file)  # from the parent; nobody else has the other end
    except EOFError:
        return  # let go before it was told anything
    _run(order, leash)


def _run(order: Order, leash: socket.socket) -> None:
    settings = order.settings
    start_logging(settings)
    logger.configure(extra={"worker": order.index})
    try:
        transport = open_transport(settings)
        certificate_of(settings)  # only to check that the service can
        tracing = tracing_settings()
    except SettingsError as error:  # the parent has checked the same, but files can change
        logger.error("{}", error)
        sys.exit(REFUSED)
    public, admin = ([socket.socket(fileno=fd) for fd in fds] for fds in (order.public, order.admin))

    stop = trio.Event()
    serve = partial(
        serve_until_stopped,
        settings,
        partial(
            Service,
            settings,
            transport,
            tracing,
            restarts=order.restarts,
            admin_ports=order.admin_ports,
            endpoints=order.endpoints,
        ),
        public,
        admin,
        stop,
        say_ready=partial(_say_alive, leash),
        beside=partial(_stop_when_let_go, leash, stop),
        when_ready=partial(_keep_saying_alive, leash, order.alive_every_s),
    )
    trio.run(serve)


def _say_alive(leash: socket.socket) -> None:
    with suppress(OSError):  # the parent is gone (`_stop_when_let_go` notices), or is not reading
        leash.send(ALIVE, socket.MSG_DONTWAIT)


async def _keep_saying_alive(leash: socket.socket, every_s: float) -> None:
    while True:
        await trio.sleep(every_s)
        _say_alive(leash)


async def _stop_when_let_go(leash: socket.socket, stop: trio.Event) -> None:
    await trio.lowlevel.wait_readable(leash)  # nothing comes after the order, so this is the end
    stop.set()
