"""What all connections of one listener share: the guard, the bounds, the drain, the counts.

Rule 1: an exception in one connection, its beginning and its end included, is reported, counted, and ends
        that connection. `Cancelled` passes. A client that is gone is no exception to speak of.
Rule 2: making room, draining and counting are synchronous.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Final

import trio

from fanout.loop.turns import Turns
from fanout.web.driver import refusals
from fanout.web.driver.answer import DateField, problem_bytes, utc_now
from fanout.web.driver.connection import Connection
from fanout.web.driver.guard import Guard
from fanout.web.driver.limits import Limits
from fanout.web.driver.statistics import DriverStatistics, End
from fanout.web.driver.transport import Transport

# Connections that end together, as after 10,000 clients that began to send together, would make one long
# event-loop iteration: so many end at once, and the next as many a little later.
ENDS_AT_ONCE: Final = 16  # about 1 ms
ENDS_EVERY_S: Final = 0.0015
PIECES_PER_ITERATION: Final = 2
JUST_CAME_S: Final = 1.0  # a connection that waits for less may be about to send its request


def never(beginning: int) -> bytes | None:
    """The `refuse` hook that lets everything pass."""
    return None


class Driver:
    """The connections of one server. `run` it beside them.

    refuse: asked before a new request is parsed, with the number of those it has let pass that have yet to
        begin; `None`, or a complete answer with a Content-Length and without a Connection field, which is
        sent as it is. It must be quick and must not raise.
    on_crash: told of every exception that ended a connection. It must not raise.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        on_crash: Callable[[BaseException], None],
        refuse: Callable[[int], bytes | None] = never,
        wall_clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.limits: Final = limits
        self.refuse: Final = refuse
        self.date: Final = DateField(wall_clock)
        self.draining = False
        self.waiting: dict[Connection, float] = {}  # who owes bytes, and since when; the longest wait first
        self.beginning = 0  # requests that were not refused, and whose task has yet to run
        self.requests = self.refused = self.malformed = 0
        self.pieces: Final = Turns(PIECES_PER_ITERATION)  # of what HTTP/2 clients send: to parse them
        self.guard: Final = Guard(self.report)  # made once: to enter it takes no memory
        self._on_crash = on_crash
        self._due: dict[float, tuple[float, int]] = {}  # of each bound: the latest moment, and how many then
        self._open: dict[Connection, None] = {}  # in order, so that a drain is the same each time
        self._rejected: dict[Connection, None] = {}  # beyond the limit, until they have been told so
        self._ended: Counter[End] = Counter()
        self._accepted = self._crashes = 0

    async def run(self) -> None:
        """Close connections that are idle for too long, at the moment that each is due, until cancelled."""
        while True:  # a connection that begins to wait later is due later, so none is missed
            now, idle_s = trio.current_time(), self.limits.idle_timeout_s
            next_due_at = now + idle_s
            ended = 0
            for connection, since in self.waiting.items():
                if since + idle_s > now:
                    next_due_at = since + idle_s
                    break
                with self.guard:
                    ended += connection.waited_too_long()
                if ended == ENDS_AT_ONCE:
                    next_due_at = now
                    break
            await trio.sleep_until(next_due_at)

    async def hold(  # noqa: ASYNC910 - the task of a connection, and its last act
        self, transport: Transport, serve: Callable[[Connection], Awaitable[None]]
    ) -> None:
        """Run one connection: within the limits, guarded, closed at the end. Raises only `Cancelled`."""
        with self.guard:
            connection = Connection(self, transport)
            self._accepted += 1
            try:
                with Guard(partial(self._on_bug, connection)):
                    try:
                        transport.watch(connection.caller_left)
                        run = self._run if self._make_room() else self._reject
                        await run(connection, serve)
                    except trio.BrokenResourceError:
                        connection.end = connection.end or End.CALLER_LEFT
            finally:
                self._forget(connection)

    async def _run(  # noqa: ASYNC910 - as above
        self, connection: Connection, serve: Callable[[Connection], Awaitable[None]]
    ) -> None:
        self._open[connection] = None
        with connection.scope:
            await serve(connection)
        if connection.too_slow() is End.SLOW_HEAD and not connection.hears_the_end:  # which HTTP/2 does
            line = self.date.line(connection.now())
            connection.transport.send_now(problem_bytes(refusals.SLOW_HEAD, line))

    async def _reject(  # noqa: ASYNC910 - as above
        self, connection: Connection, serve: Callable[[Connection], Awaitable[None]]
    ) -> None:
        """Say that there is no room, to as many clients at once as are allowed to be listened to for that."""
        connection.end = End.OVER_LIMIT
        if len(self._rejected) >= self.limits.max_rejected:
            return  # noqa: ASYNC910 - as above
        self._rejected[connection] = None
        with connection.scope:
            connection.linger(self.limits.linger_timeout_s)
            if await connection.transport.handshake() == "h2":
                await connection.say_last(refusals.OVER_HTTP2)
                return
            line = self.date.line(connection.now())
            await connection.say_last(problem_bytes(refusals.TOO_MANY_CONNECTIONS, line))

    def _on_bug(self, connection: Connection, bug: Exception) -> None:
        connection.end, connection.reset = End.CRASHED, True
        self.report(bug)

    def _forget(self, connection: Connection) -> None:
        """It has ended: count it, and close what is below, whatever may be wrong with it."""
        try:
            self._open.pop(connection, None)
            self._rejected.pop(connection, None)
            self.waiting.pop(connection, None)
            self._ended[connection.how_it_ended()] += 1
        finally:
            connection.close()

    def report(self, error: BaseException) -> None:
        """Count and report a crash. A group of one is reported as that one."""
        self._crashes += 1
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        self._on_crash(error)

    def drain(self) -> None:
        """Finish what was admitted, and nothing else. For good; may be called twice.

        Idle connections and handshakes end now, a few at a time, and all within `drain_grace_s`. The others
        say `Connection: close` with their answer and then close. No wait for a caller is longer than
        `drain_grace_s` from here on. How long admitted requests may run is the app's affair.
        """
        self.draining = True
        now, idle = trio.current_time(), 0
        all_of_them = [*self._open, *self._rejected]
        step_s = min(ENDS_EVERY_S, self.limits.drain_grace_s * ENDS_AT_ONCE / (len(all_of_them) or 1))
        for connection in all_of_them:
            with self.guard:
                idle += connection.drain(now + idle // ENDS_AT_ONCE * step_s)

    def patience_s(self, timeout_s: float) -> float:
        """How long to wait for a caller: `timeout_s`, less while draining. `inf` is not a wait."""
        if self.draining and timeout_s != float("inf"):
            return min(timeout_s, self.limits.drain_grace_s)
        return timeout_s

    def due_in_s(self, timeout_s: float) -> float:
        """How long to wait for a caller, by one of the limits: `patience_s`, and a little more where many
        waits would end together."""
        timeout_s = self.patience_s(timeout_s)
        now = trio.current_time()
        due_at = now + timeout_s
        at, number = self._due.get(timeout_s, (0.0, 0))
        if due_at >= at + ENDS_EVERY_S:
            at, number = due_at, 0
        elif number == ENDS_AT_ONCE:
            at, number = at + ENDS_EVERY_S, 0
        self._due[timeout_s] = at, number + 1
        return timeout_s if at <= due_at else at - now

    def statistics(self) -> DriverStatistics:
        return DriverStatistics(
            open=len(self._open),
            waiting=len(self.waiting),
            busy=len(self._open) - len(self.waiting),
            accepted=self._accepted,
            requests=self.requests,
            refused=self.refused,
            malformed=self.malformed,
            crashes=self._crashes,
            draining=self.draining,
            ended={end.value: count for end, count in self._ended.items()},
        )

    def _make_room(self) -> bool:
        """Whether one more may be open; the one that has waited longest for its caller gives way."""
        if len(self._open) < self.limits.max_connections:
            return True
        longest = next((waiting for waiting in self.waiting if waiting.may_give_way), None)
        if self.limits.evict_busy and (longest is None or self._has_just_come(longest)):
            longest = next(iter(self._open), None)
        if longest is None:
            return False
        self.waiting.pop(longest, None)
        self._open.pop(longest, None)  # the next newcomer evicts another one
        with self.guard:
            longest.cut(End.EVICTED)
        return True

    def _has_just_come(self, waiting: Connection) -> bool:
        return waiting.now() - self.waiting[waiting] < JUST_CAME_S
