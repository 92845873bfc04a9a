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

import httpx
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

    def __init__(self, look_up: LookUp = look_up_in_thread, refresh_s: float = REFRESH_S) -> None:
        self._look_up = look_up
        self._refresh_s = refresh_s
        self._entries: dict[Name, _Entry] = {}
        self._is_running = False
        # Requests put names in, and the service's task takes them out; unbounded, because names are few.
        self._asked, self._to_keep = trio.open_memory_channel[_Entry](math.inf)

    def want(self, host: str, port: int) -> None:
        """Look up a name (not an IP literal) as soon as `run()` runs, before the first request."""
        if _literal(host, port) is None and (host, port) not in self._entries:
            self._entry((host, port))

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        """The addresses of a name, best first, or of an IP literal. Raises `httpx.ConnectError`.

        Returns at once when they are known, however old. Otherwise it waits for the look-up under way, so
        `run()` must be running.
        """
        literal = _literal(host, port)
        if literal is not None:
            return (literal,)  # noqa: ASYNC910 - nothing to wait for
        entry = self._entries.get((host, port)) or self._entry((host, port))
        if not self._is_running:
            raise RuntimeError("names are resolved by PoolTransport.run(), which is not running")
        await entry.ready()
        return entry.addresses.in_turn()

    def learn(self, host: str, port: int, attempts: Sequence[Attempt]) -> None:
        """Learn from these attempts to connect which addresses to try last."""
        entry = self._entries.get((host, port))
        if entry is not None:
            entry.addresses.learn(attempts)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Keep the addresses of all names up to date until cancelled."""
        self._is_running = True
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                async for entry in self._to_keep:
                    nursery.start_soon(self._keep, entry, name=f"resolve {entry.name[0]}")
        finally:
            self._is_running = False

    def statistics(self) -> tuple[NameStatistics, ...]:
        """A snapshot."""
        return tuple(entry.statistics() for entry in self._entries.values())

    def _entry(self, name: Name) -> _Entry:
        entry = self._entries[name] = _Entry(name)
        self._asked.send_nowait(entry)
        return entry

    async def _keep(self, entry: _Entry) -> None:
        while True:
            try:
                entry.succeeded(await self._look_up(*entry.name))
            except Exception as error:  # noqa: BLE001 - Rule 4
                entry.failed(error)
            await trio.sleep(self._refresh_s if entry.error is None else RETRY_S)


class _Entry:
    """The state of one name."""

    def __init__(self, name: Name) -> None:
        self.name = name
        self.error: str | None = None
        self.addresses = Addresses()
        self._first_look_up = trio.Event()
        self._looked_up_at = -math.inf
        self._look_ups = 0
        self._failures = 0

    async def ready(self) -> None:  # noqa: ASYNC910 - as `Resolver.addresses`
        if not self._first_look_up.is_set():
            await self._first_look_up.wait()
        if not self.addresses.known:
            raise httpx.ConnectError(f"{self.name[0]} has no address: {self.error}")

    def succeeded(self, found: Sequence[Address]) -> None:
        if not found:
            raise OSError("the look-up gave no address")
        self.addresses.renew(found)
        self.error = None
        self._look_ups += 1
        self._looked_up_at = trio.current_time()
        self._first_look_up.set()

    def failed(self, error: Exception) -> None:
        self.error = str(error) if isinstance(error, OSError) and str(error) else repr(error)
        self._look_ups += 1
        self._failures += 1
        self._first_look_up.set()

    def statistics(self) -> NameStatistics:
        age_s = trio.current_time() - self._looked_up_at
        addresses = self.addresses
        return NameStatistics(
            name=self.name[0],
            addresses=tuple(str(where[0]) for _, where in addresses.known),
            tried_last=tuple(str(where[0]) for _, where in addresses.tried_last),
            passed_over=addresses.passed_over,
            age_s=None if math.isinf(age_s) else age_s,
            look_ups=self._look_ups,
            failures=self._failures,
            last_error=self.error,
        )


@lru_cache(maxsize=64)  # there are a handful of origins
def _literal(host: str, port: int) -> Address | None:
    """The address of an IP literal; `None` for a name, valid or not. It never queries a DNS server."""
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return found[0][0], found[0][4]
