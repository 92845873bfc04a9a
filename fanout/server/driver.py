"""What all connections of one listener share: the guard, the bounds, the graceful shutdown, the counts.

Rule 1: an exception anywhere in one connection, its first and last line included, is reported and counted,
        and ends that connection. `Cancelled` passes. A client disconnect is not an exception to report.
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
from fanout.server import rejections
from fanout.server.answer import DateField, head_bytes, utc_now
from fanout.server.connection import Connection
from fanout.server.guard import Guard
from fanout.server.limits import Limits
from fanout.server.rejections import Rejection, Render, as_text
from fanout.server.statistics import DriverStatistics, End
from fanout.server.timeouts import ENDS_AT_ONCE, ENDS_EVERY_S, Timeouts
from fanout.server.transport import Transport

PIECES_PER_ITERATION: Final = 2
JUST_CAME_S: Final = 1.0  # a client that has waited for less may be about to send its request


def never(beginning: int) -> bytes | None:
    """The `shed` hook that sheds nothing."""
    return None


class Driver:
    """The connections of one server. `run` must run next to them.

    shed: called before a new request is parsed, with the number of requests admitted but not yet started.
        It returns `None`, or a complete answer with a Content-Length and without a Connection field, which
        the driver sends unchanged. It must be quick and must not raise.
    on_crash: receives every exception that ended a connection. It must not raise.
    render: how a rejection looks.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        on_crash: Callable[[BaseException], None],
        shed: Callable[[int], bytes | None] = never,
        render: Render = as_text,
        wall_clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.limits: Final = limits
        self.timeouts: Final[Timeouts[Connection]] = Timeouts(limits)
        self.shed: Final = shed
        self.date: Final = DateField(wall_clock)
        self.beginning = 0  # requests admitted but not yet started
        self.requests = self.refused = self.malformed = 0
        self.pieces: Final = Turns(PIECES_PER_ITERATION)  # turns to parse what HTTP/2 clients send
        self.guard: Final = Guard(self.report)  # made once: entering it allocates nothing
        self._on_crash = on_crash
        self._render = render
        self._open: dict[Connection, None] = {}  # in order, so that every drain is alike
        self._rejected: dict[Connection, None] = {}  # over the limit, until their 503 is sent
        self._ended: Counter[End] = Counter()
        self._accepted = self._crashes = 0

    @property
    def draining(self) -> bool:
        return self.timeouts.draining

    async def run(self) -> None:
        """Close each connection that is idle for too long, at the moment it expires, until cancelled."""
        while True:  # a connection that begins to wait later expires later, so none is missed
            now, idle_s = trio.current_time(), self.limits.idle_timeout_s
            next_due_at = now + idle_s
            ended = 0
            for connection, since in self.timeouts.waiting.items():
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
            connection = Connection(self.timeouts, transport)
            self._accepted += 1
            try:
                with Guard(partial(self._on_bug, connection)):
                    try:
                        transport.watch(connection.client_left)
                        run = self._run if self._make_room() else self._reject
                        await run(connection, serve)
                    except trio.BrokenResourceError:
                        connection.end = connection.end or End.CLIENT_DISCONNECTED
            finally:
                self._forget(connection)

    async def _run(  # noqa: ASYNC910 - as above
        self, connection: Connection, serve: Callable[[Connection], Awaitable[None]]
    ) -> None:
        self._open[connection] = None
        with connection.scope:
            await serve(connection)
        if connection.too_slow() is End.SLOW_HEAD and not connection.is_http2:
            connection.transport.send_now(self.last_answer(rejections.SLOW_HEAD, connection.is_for_head))

    async def _reject(  # noqa: ASYNC910 - as above
        self, connection: Connection, serve: Callable[[Connection], Awaitable[None]]
    ) -> None:
        """Send a 503, over the limit of connections. Only `max_rejected` clients at once get it."""
        connection.end = End.OVER_LIMIT
        if len(self._rejected) >= self.limits.max_rejected:
            return  # noqa: ASYNC910 - as above
        self._rejected[connection] = None
        with connection.scope:
            connection.linger(self.limits.linger_timeout_s)
            is_http2 = await connection.transport.handshake() == "h2"
            answer = rejections.OVER_HTTP2 if is_http2 else self.last_answer(rejections.TOO_MANY_CONNECTIONS)
            await connection.say_last(answer, End.OVER_LIMIT)

    def _on_bug(self, connection: Connection, bug: Exception) -> None:
        connection.end, connection.reset = End.CRASHED, True
        self.report(bug)

    def _forget(self, connection: Connection) -> None:
        """Count a connection that has ended, and close its transport, even if the count raises."""
        try:
            self._open.pop(connection, None)
            self._rejected.pop(connection, None)
            self.timeouts.waiting.pop(connection, None)
            self._ended[connection.how_it_ended()] += 1
        finally:
            connection.close()

    def report(self, error: BaseException) -> None:
        """Count and report a crash. A group of one exception is reported as that exception."""
        self._crashes += 1
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        self._on_crash(error)

    def render(self, rejection: Rejection) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Header fields, lower-case and without length and connection, and the body of the answer."""
        fields, body = self._render(rejection)
        return [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in fields], body

    def last_answer(self, rejection: Rejection, is_for_head: bool = False) -> bytes:
        """A complete HTTP/1.1 answer, after which the connection closes. is_for_head: to a HEAD request."""
        fields, body = self.render(rejection)
        fields.append((b"content-length", b"%d" % len(body)))
        fields.append((b"date", self.date.value(trio.current_time())))
        fields.append((b"connection", b"close"))
        return head_bytes(rejection.status, fields) + (b"" if is_for_head else body)

    def enter_lame_duck(self) -> None:
        """Serve as before, but make each answer the last one on its connection, so that clients move away.

        Call it some time before `drain`, so that clients and balancers notice the shutdown before it begins.
        It cannot be undone. Idle connections stay open, because a request may be on its way. Over HTTP/2,
        GOAWAY follows the last of the answers that are in progress together.
        """
        self.timeouts.closes_after_answer = True

    def drain(self) -> None:
        """Finish the admitted requests, and nothing else. Irrevocable; may be called twice.

        Idle connections and handshakes end now, a few at a time, and all within `drain_grace_s`. The others
        send `Connection: close` with their answer and then close. From now on no wait for a client is longer
        than `drain_grace_s`. The app decides how long admitted requests may run.
        """
        self.timeouts.draining = self.timeouts.closes_after_answer = True
        now, idle = trio.current_time(), 0
        for stream in self.timeouts.of_streams:
            stream.deadline = min(stream.deadline, now + self.limits.drain_grace_s)
        all_of_them = [*self._open, *self._rejected]
        step_s = min(ENDS_EVERY_S, self.limits.drain_grace_s * ENDS_AT_ONCE / (len(all_of_them) or 1))
        for connection in all_of_them:
            with self.guard:
                idle += connection.drain(now + idle // ENDS_AT_ONCE * step_s)

    def statistics(self) -> DriverStatistics:
        return DriverStatistics(
            open=len(self._open),
            waiting=len(self.timeouts.waiting),
            busy=len(self._open) - len(self.timeouts.waiting),
            accepted=self._accepted,
            requests=self.requests,
            refused=self.refused,
            malformed=self.malformed,
            crashes=self._crashes,
            draining=self.draining,
            ended={end.value: count for end, count in self._ended.items()},
        )

    def _make_room(self) -> bool:
        """Whether one more may be open. It replaces the one that has waited longest for its client."""
        if len(self._open) < self.limits.max_connections:
            return True
        longest = next((waiting for waiting in self.timeouts.waiting if waiting.may_give_way), None)
        if self.limits.evict_busy and (longest is None or self._has_just_come(longest)):
            longest = next(iter(self._open), None)
        if longest is None:
            return False
        del self._open[longest]  # the next new connection evicts another one
        with self.guard:
            longest.give_way()
        return True

    def _has_just_come(self, waiting: Connection) -> bool:
        return waiting.now() - self.timeouts.waiting[waiting] < JUST_CAME_S
