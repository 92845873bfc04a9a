"""Reports to systemd: the server is ready, it stops, its event loop runs.

A service manager that accepts these reports sets NOTIFY_SOCKET, and WATCHDOG_USEC for the watchdog's timeout.
The protocol is one datagram per message, so it needs no library: sd_notify(3), sd_watchdog_enabled(3).

Rule 1: nothing here ends or delays the server. No send waits. A send that fails is one line in the log.
Rule 2: a task of the event loop feeds the watchdog. A thread would feed it while the event loop is stuck.
Rule 3: the variables are removed from the environment, so child processes cannot send messages for this one.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Final

import trio
from loguru import logger

RETRY_S: Final = 1.0
EXIT_S: Final = 2  # for writing the last lines of the log
SHORTEST_WATCHDOG_USEC: Final = 100_000  # far above any event-loop iteration of a healthy server
MAX_DIGITS: Final = 20  # of 64 bits

# Called when the server is ready, with the event of the first signal. Cancelled when the server has ended.
KeepInformed = Callable[[trio.Event], Awaitable[None]]


class ServiceManager:
    """systemd, or another program that reads NOTIFY_SOCKET.

    address: of its socket, a path or `@` and an abstract name; empty: no manager, and nothing is sent.
    watchdog_s: a ready server that is silent for longer is ended by the manager.
    """

    def __init__(self, address: str = "", watchdog_s: float = math.inf) -> None:
        self.watchdog_s = watchdog_s
        self._address = address
        self._is_failing = False

    async def keep_informed(self, url: str, longest_shutdown_s: float, stopping: trio.Event) -> None:
        """Report that the server at `url` is ready, then that it stops. Feed the watchdog until cancelled.

        longest_shutdown_s: from `stopping` until the process begins to exit. If TimeoutStopSec is shorter,
        systemd waits for this time instead.
        """
        if not self._address:
            await trio.lowlevel.checkpoint()
            return
        try:
            # One socket for all messages: if descriptors run out later, the server still feeds the watchdog.
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        except (OSError, MemoryError) as error:
            logger.warning("NOTIFY_SOCKET={}: nothing will be sent: {}", self._address, error)
            await trio.lowlevel.checkpoint()
            return
        with sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed, sock)
                await self._say(sock, "READY=1", f"STATUS=serving at {url}")
                await stopping.wait()
                extend = f"EXTEND_TIMEOUT_USEC={math.ceil((longest_shutdown_s + EXIT_S) * 1e6)}"
                await self._say(sock, "STOPPING=1", extend, "STATUS=graceful shutdown")

    async def _feed(self, sock: socket.socket) -> None:
        while True:
            await trio.sleep(self.watchdog_s / 2)
            self._send(sock, "WATCHDOG=1")

    async def _say(self, sock: socket.socket, *assignments: str) -> None:
        """Returns when the message was sent. If READY were lost, systemd would end a healthy server."""
        while not self._send(sock, "\n".join(assignments)):  # noqa: ASYNC110 - no event says when it reads again
            await trio.sleep(RETRY_S)
        await trio.lowlevel.checkpoint()

    def _send(self, sock: socket.socket, message: str) -> bool:
        """Returns whether the message was sent. Of several failures in a row only the first is logged."""
        try:
            address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
            sock.sendto(message.encode(), socket.MSG_DONTWAIT, address)
        except (OSError, MemoryError) as error:
            if not self._is_failing:
                what = message.partition("\n")[0]
                logger.warning("NOTIFY_SOCKET={}: {} was not sent: {}", self._address, what, error)
            self._is_failing = True
        else:
            self._is_failing = False
        return not self._is_failing


def service_manager(environment: MutableMapping[str, str]) -> ServiceManager:
    """The service manager that has started this process. Removes its variables from `environment`."""
    address = environment.pop("NOTIFY_SOCKET", "")
    usec = environment.pop("WATCHDOG_USEC", "")
    pid = environment.pop("WATCHDOG_PID", "")
    if address and not address.startswith(("/", "@")):
        logger.warning("NOTIFY_SOCKET={}: not used: use an absolute path, or @ and a name", address)
        address = ""
    if not usec:
        return ServiceManager(address)
    is_number = usec.isascii() and usec.isdecimal() and len(usec) <= MAX_DIGITS
    if not is_number or int(usec) < SHORTEST_WATCHDOG_USEC:
        fix = f"use a whole number of microseconds from {SHORTEST_WATCHDOG_USEC} up"
        logger.warning("WATCHDOG_USEC={}: not used: {}", usec, fix)
        return ServiceManager(address)
    is_for_us = pid in ("", str(os.getpid()))
    return ServiceManager(address, int(usec) / 1e6 if address and is_for_us else math.inf)
