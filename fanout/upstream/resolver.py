"""Names to addresses: a task of the service looks them up and refreshes them in the background.

Rule 1: a request never starts a thread or a look-up of its own. It reads the known addresses, or waits for
        the one look-up of its name, in its own scope.
Rule 2: a stale answer is better than none. It is kept until a newer one comes.
Rule 3: there is one look-up per name at a time, so a DNS server that hangs blocks one thread per name.
Rule 4: any exception of a look-up is a failed look-up: counted, reported, and repeated. There are many such
        exceptions (no such name, no IDNA name, no thread, no memory). The known addresses are still good, and
        the service must not end because it cannot look up a name that it knows.

Names come from the configuration, so they are few, and the resolver never forgets one.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Final

import trio

from fanout.upstream.addresses import Addresses, Attempt
from fanout.upstream.statistics import NameStatistics
from fanout.upstream.wire import Address

Name = tuple[str, int]  # host and port: getaddrinfo answers with both
LookUp = Callable[[str, int], Awaitable[Sequence[Address]]]

REFRESH_S: Final = 30.0  # about a cloud's DNS lifetimes; getaddrinfo does not return them
RETRY_S: Final = 1.0  # after a failure
MAX_THREADS: Final = 8

_threads = trio.CapacityLimiter(MAX_THREADS)


async def look_up_in_thread(host: str, port: int) -> list[Address]:
    """The system's resolver, so `/etc/hosts` and search domains work.

    Raises `OSError`, `UnicodeError` for an invalid name, `RuntimeError` when no thread can be started.

    When cancelled it returns at once, and the thread ends by itself.
    """
    found = await trio.to_thread.run_sync(
        socket.getaddrinfo,
        host.encode("ascii"),
        port,
        0,
        socket.SOCK_STREAM,
        abandon_on_cancel=True,
        limiter=_threads,
    )
    return [(family, where) for family, _, _, _, where in found]


class Resolver:
    """The addresses of every name that was ever requested."""

    def __init__(self, look_up: LookUp = look_up_in_thread) -> None:
        self._look_up = look_up
        self._names: dict[Name, Addresses] = {}
        self._is_running = False
        # Requests put names in, and the service's task takes them out; unbounded, because names are few.
        self._wanted, self._to_keep = trio.open_memory_channel[Name](math.inf)

    def want(self, host: str, port: int) -> None:
        """Look up a name (not an IP literal) as soon as `run()` runs, before the first request."""
        if _literal(host, port) is None:
            self._name((host, port))

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        """The addresses of a name, best first, or of an IP literal. Raises `httpx.ConnectError`.

        Returns at once when they are known, however old. Otherwise it waits for the look-up under way, so
        `run()` must be running.
        """
        literal = _literal(host, port)
        if literal is not None:
            return (literal,)  # noqa: ASYNC910 - nothing to wait for
        addresses = self._name((host, port))
        if not self._is_running:
            raise RuntimeError("names are resolved by PoolTransport.run(), which is not running")
        await addresses.ready()
        return addresses.in_turn()

    def learn(self, host: str, port: int, attempts: Sequence[Attempt]) -> None:
        """Learn from these attempts to connect which addresses to try last."""
        if (host, port) in self._names:
            self._names[host, port].learn(attempts)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep the addresses of all names up to date until cancelled."""
        self._is_running = True
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                async for name in self._to_keep:
                    nursery.start_soon(self._keep, name, name=f"resolve {name[0]}")
        finally:
            self._is_running = False

    def statistics(self) -> tuple[NameStatistics, ...]:
        """A snapshot."""
        return tuple(addresses.statistics() for addresses in self._names.values())

    def _name(self, name: Name) -> Addresses:
        if name not in self._names:
            self._names[name] = Addresses(name[0])
            self._wanted.send_nowait(name)
        return self._names[name]

    async def _keep(self, name: Name) -> None:
        addresses = self._names[name]
        while True:
            try:
                addresses.looked_up(await self._look_up(*name))
            except Exception as error:  # noqa: BLE001 - Rule 4
                addresses.failed(error)
            await trio.sleep(REFRESH_S if addresses.error is None else RETRY_S)


@lru_cache(maxsize=64)  # there are a handful of origins
def _literal(host: str, port: int) -> Address | None:
    """The address of an IP literal; `None` for a name, valid or not. It never queries a DNS server."""
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return found[0][0], found[0][4]
