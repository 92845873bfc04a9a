"""The connections to one origin.

Rule 1: between taking a slot or a socket and giving it back there is no checkpoint that is not
        covered by a synchronous `finally`. Nothing in this file is async: it cannot be cancelled.
Rule 2: taking, giving back and dropping take the same time with 10 and with 10,000 connections.
Rule 3: no call waits here. The limit follows from the admission's limit; to exceed it is a bug, and raises.
Rule 4: a connection is idle or in use, never both, and counted under exactly one reason when closed.
Rule 5: taking a connection is one dictionary operation, after everything that could run out of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Final

import trio

from fanout.upstream.messages import Origin
from fanout.upstream.statistics import OriginStatistics
from fanout.upstream.wire import Wire

# The most dead idle connections that one call closes before it opens a new one. After a restart of the
# upstream all are dead, and one call must not pay for all of them.
_MAX_STALE_DISCARDS: Final = 4


class PoolLimitExceeded(RuntimeError):
    """More calls than the admission allows: a bug of the service, not of the upstream."""


class CloseReason(StrEnum):
    """Why a connection was closed. `CANCELLED` is also what a bug in the middle of a call leaves."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"  # idle for too long
    BROKEN = "broken"  # it failed, or what came over it was malformed
    PEER = "peer"  # the upstream closed it, or said that it would
    SHUTDOWN = "shutdown"


class PooledConnection:
    """A slot of the pool. It has a wire once it is connected. `idle_since` is in Trio's time."""

    __slots__ = ("idle_since", "wire")

    def __init__(self) -> None:
        self.wire: Wire | None = None
        self.idle_since = 0.0

    def is_reusable(self) -> bool:
        """Nothing has arrived since the last answer, not even the end, so it can be used again.

        This asks the kernel. The last report of epoll is one event-loop iteration old, and this call would
        take a second, unrequested answer to the previous call for its own. It never raises, because then the
        pool could lose the connection.
        """
        try:
            return self.wire is not None and self.wire.receive_nowait() is None and not self.wire.has_part
        except Exception:  # noqa: BLE001 - after any error this connection is not used again
            return False


OnNews = Callable[["OriginPool", PooledConnection], bool]


class OriginPool:
    """LIFO: the warmest connection is taken first, and the others may expire.

    `max_connections` bounds the calls at a time, and with them the open connections (a few dead idle
    ones aside), because a new one is opened only when no live one is idle.
    """

    def __init__(
        self, origin: Origin, max_connections: int, keepalive_expiry_s: float, on_news: OnNews
    ) -> None:
        """on_news: called when bytes or the end come over a connection that no task reads."""
        self.origin = origin
        self._max_connections = max_connections
        self._keepalive_expiry_s = keepalive_expiry_s
        self._on_news = on_news
        self._idle: dict[PooledConnection, None] = {}  # in order, the oldest first
        self._used: dict[PooledConnection, None] = {}  # including those not yet connected
        self._opened = 0
        self._reused = 0
        self._retries = 0
        self._failed_connects = 0
        self._cancelled_connects = 0
        self._closed = dict.fromkeys(CloseReason, 0)
        self._is_shut_down = False
        self._now = trio.lowlevel.current_clock().current_time  # `trio.current_time`, looked up once

    def take(self) -> PooledConnection:
        """A live idle connection, or one yet to be connected. Raises `PoolLimitExceeded`."""
        self._check_limit()
        for _ in range(min(len(self._idle), _MAX_STALE_DISCARDS)):
            connection = next(reversed(self._idle))
            if self._has_expired(connection):
                self._close(connection, CloseReason.EXPIRED, in_order=True)
            elif connection.is_reusable():
                self._reused += 1
                self._used[connection] = None
                del self._idle[connection]
                return connection
            else:
                self._close(connection, CloseReason.PEER)
        return self._new_connection()

    def take_for_retry(self) -> PooledConnection:
        """A new connection, after a reused one was dead: another idle one may be dead, too."""
        self._check_limit()
        self._retries += 1
        return self._new_connection()

    def connected(self, connection: PooledConnection, wire: Wire) -> None:
        """A new connection has its wire, and owns it from now on."""
        connection.wire = wire
        self._opened += 1
        wire.on_news(partial(self._on_news, self, connection))

    def give_back(self, connection: PooledConnection, reason: CloseReason | None) -> bool:
        """End a use: without a `reason` it is idle again, else it is reset at once. True: it was kept.

        If epoll has reported its end behind the answer, it is closed, too: no other event will come for it.
        """
        del self._used[connection]
        wire = connection.wire
        if wire is None:
            if reason is CloseReason.CANCELLED:
                self._cancelled_connects += 1
            else:
                self._failed_connects += 1
        elif reason is None and not wire.has_ended and not self._is_shut_down:
            try:
                connection.idle_since = self._now()
                self._idle[connection] = None
            except BaseException:  # out of memory: neither list has it now
                self._close(connection, CloseReason.BROKEN)
                raise
            return True
        else:
            self._close(connection, reason or (CloseReason.PEER if wire.has_ended else CloseReason.SHUTDOWN))
        return False

    def look_at(self, connection: PooledConnection) -> None:
        """Handle news: close an idle connection that has ended or has unrequested bytes."""
        if connection in self._idle and not connection.is_reusable():
            self._close(connection, CloseReason.PEER)

    def close_expired(self, at_most: int) -> bool:
        """Close idle connections that have expired. True if there may be more of them."""
        oldest = list(islice(self._idle, at_most))
        for connection in oldest:
            if not self._has_expired(connection):
                return False
            self._close(connection, CloseReason.EXPIRED, in_order=True)
        return len(oldest) == at_most

    def shut_down(self) -> None:
        """Close what is idle now, and what is in use when it is given back. Irrevocable."""
        self._is_shut_down = True
        while self._idle:
            self._close(next(reversed(self._idle)), CloseReason.SHUTDOWN, in_order=True)

    @property
    def in_use(self) -> int:
        return len(self._used)

    def statistics(self) -> OriginStatistics:
        """A snapshot, in time proportional to the connections in use."""
        connecting = sum(connection.wire is None for connection in self._used)
        return OriginStatistics(
            origin=str(self.origin),
            open=len(self._idle) + len(self._used) - connecting,
            idle=len(self._idle),
            in_use=len(self._used),
            connecting=connecting,
            opened=self._opened,
            reused=self._reused,
            retries=self._retries,
            failed_connects=self._failed_connects,
            cancelled_connects=self._cancelled_connects,
            closed={str(reason): count for reason, count in self._closed.items()},
        )

    def _check_limit(self) -> None:
        if len(self._used) >= self._max_connections:
            raise PoolLimitExceeded(f"more than {self._max_connections} calls to {self.origin} at a time")

    def _new_connection(self) -> PooledConnection:
        connection = PooledConnection()
        self._used[connection] = None
        return connection

    def _has_expired(self, connection: PooledConnection) -> bool:
        return self._now() - connection.idle_since >= self._keepalive_expiry_s

    def _close(self, connection: PooledConnection, reason: CloseReason, *, in_order: bool = False) -> None:
        """Close a connection that is idle, or no longer in use, and count it.

        in_order: nothing is wrong with it. Otherwise it is reset: nothing more will be sent on it, and it
            must not keep a port in TIME_WAIT.
        """
        self._idle.pop(connection, None)
        self._closed[reason] += 1
        if connection.wire is not None:
            connection.wire.close() if in_order else connection.wire.abort()
