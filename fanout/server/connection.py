"""One open connection: what it waits for, until when, and how it ends.

Rule 1: the scope has a deadline exactly while the client owes something: the rest of a handshake, head or
        body, or reading an answer. A client that owes a request, and an app that has yet to return after its
        answer, stand in the driver's queue, which one task handles. To move a deadline twice per request
        would take 3 % of its processor time.
Rule 2: nothing is shielded. Cancelling the scope ends the app and the connection, whatever they do.
Rule 3: a client disconnect while the app has the request cancels the scope (G6). At any other time the next
        read or write notices the disconnect.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import Final

import trio

from fanout.server.statistics import End
from fanout.server.timeouts import Timeouts
from fanout.server.transport import Transport

DISCONNECT: Final = "the client disconnected"  # why a request was cancelled


class State(Enum):
    HANDSHAKE = auto()
    IDLE = auto()  # no byte of the next request has come
    HEAD = auto()  # some bytes have
    BUSY = auto()  # the app has the request
    ENDING = auto()  # its answer is sent, and it has yet to return
    LINGERING = auto()  # the last answer is sent; bytes that still come are discarded


_WHEN_TOO_LATE = {
    State.HANDSHAKE: End.SLOW_HANDSHAKE,
    State.IDLE: End.IDLE,
    State.HEAD: End.SLOW_HEAD,
    State.BUSY: End.SLOW_BODY,
    State.ENDING: End.SLOW_APP,
}


class Connection:
    """The record of one connection. Made by `Driver.hold`, which runs it in `scope`."""

    __slots__ = (
        "_is_replaced",
        "_read_by",
        "_timeouts",
        "_write_by",
        "end",
        "is_for_head",
        "is_http2",
        "left_at",
        "limits",
        "now",
        "reset",
        "scope",
        "state",
        "transport",
    )

    def __init__(self, timeouts: Timeouts[Connection], transport: Transport) -> None:
        self._timeouts = timeouts
        self.limits = timeouts.limits
        self.now = trio.lowlevel.current_clock().current_time  # `trio.current_time`, looked up once
        self.transport = transport
        self.scope = trio.CancelScope()
        self.state = State.BUSY
        self.end: End | None = None  # the first cause to be known
        self.left_at: float | None = None  # Trio's clock, when the disconnect was noticed
        self.reset = False  # close with RST: the client must not take a part of an answer for the whole
        self.is_http2 = False
        self.is_for_head = False  # the request that is refused is a HEAD: its answer has no content
        self._is_replaced = False
        self._read_by = inf
        self._write_by = inf

    @property
    def closes_after_answer(self) -> bool:
        return self._timeouts.closes_after_answer

    def wait(self, state: State, timeout_s: float) -> None:
        """The client owes bytes. Until it sends them, a newer connection may replace this one."""
        self.state = state
        if self.end is End.DRAINED:
            self.end = None  # it was idle as the drain began: what ends it now is another cause
        self._to_the_end_of_the_queue()
        self.read_within(self._timeouts.spread_timeout_s(timeout_s))

    def wait_idle(self) -> None:
        """The client owes a request. It has `idle_timeout_s`."""
        self.state = State.IDLE
        waiting = self._timeouts.waiting  # inlined, because every request that is shed comes here
        waiting.pop(self, None)
        if not self._is_replaced:
            waiting[self] = self.now()
        if self._read_by != inf:
            self._clear_read_by()

    def wait_again(self) -> None:
        """Be idle from the moment at which the answer was sent."""
        self.state = State.IDLE

    def not_idle(self) -> None:
        """Bytes have come, and the task is about to read them. No drain or eviction ends it now."""
        self.state = State.HEAD

    @property
    def may_give_way(self) -> bool:
        """Whether a newer connection may replace it: not while its task has yet to run for new bytes, and not
        while an answer without a request, such as a rejection over HTTP/2, is being written."""
        if self.state is State.IDLE:
            return self._write_by == inf
        return self.state is not State.HEAD or self._read_by != inf

    def work(self) -> None:
        """The client owes nothing more: the app has the request."""
        self.state = State.BUSY
        self._timeouts.waiting.pop(self, None)
        self._clear_read_by()
        if self.left_at is not None:
            self.cut(End.CLIENT_DISCONNECTED)

    def answered(self) -> None:
        """The app's answer is sent. The app has `idle_timeout_s` to return, as a client has to send."""
        self.state = State.ENDING
        self._to_the_end_of_the_queue()
        if self._timeouts.draining:
            self.read_within(self.limits.drain_grace_s)

    def linger(self, timeout_s: float) -> None:
        """Ignore what the client sends from now on, though it may have to be read. `end` must be set."""
        self.state = State.LINGERING
        self._timeouts.waiting.pop(self, None)
        self.read_within(self._timeouts.spread_timeout_s(timeout_s))

    def read_within(self, timeout_s: float) -> None:
        """The client owes bytes within `timeout_s` seconds; `inf`: it owes none."""
        self._read_by = self.now() + self._timeouts.timeout_s(timeout_s)
        self.scope.deadline = min(self._read_by, self._write_by)

    def written_within(self, timeout_s: float) -> None:
        """The client must take what is being sent within `timeout_s` seconds; `inf`: nothing is sent."""
        self._write_by = self.now() + self._timeouts.timeout_s(timeout_s)
        self.scope.deadline = min(self._read_by, self._write_by)

    def _clear_read_by(self) -> None:
        if self._read_by != inf:
            self._read_by = inf
            self.scope.deadline = self._write_by

    def _to_the_end_of_the_queue(self) -> None:
        waiting = self._timeouts.waiting
        waiting.pop(self, None)
        if not self._is_replaced:
            waiting[self] = self.now()

    def client_left(self) -> None:
        """The client has disconnected, perhaps behind bytes that are not read yet."""
        self.left_at = self.now()
        if self.state is State.BUSY:
            self.cut(End.CLIENT_DISCONNECTED)

    def cut(self, end: End) -> None:
        """End it now, and the app with it."""
        self.end = self.end or end
        self.scope.cancel(reason=DISCONNECT if end is End.CLIENT_DISCONNECTED else end)

    def give_way(self) -> None:
        """End it now, for a newer one. Its task may still run, and never waits in the queue again."""
        self._is_replaced = True
        self._timeouts.waiting.pop(self, None)
        self.cut(End.EVICTED)

    def reads_too_slowly(self) -> None:
        """The app reports that its client has not read a long answer in time."""
        self.reset = True
        self.cut(End.SLOW_READER)

    def waited_too_long(self) -> bool:
        """It has waited for `idle_timeout_s`. Whether it ends now: other states have a deadline."""
        is_over = self.state is State.ENDING or not self.may_give_way
        if self.state is State.IDLE:
            is_over = self.may_give_way  # while it is written to, the next look decides
        if self.scope.cancel_called or not is_over:
            return False
        self.cut(_WHEN_TOO_LATE[self.state])
        return True

    def drain(self, idle_until: float) -> bool:
        """The server shuts down: end as soon as possible without losing an admitted request.

        Whether it is idle. Then it ends at `idle_until`, unless a request comes before. Over HTTP/2 a refusal
        may still have to be written to an idle one.
        """
        is_writing = self._write_by != inf
        is_idle = self.state is State.IDLE and not is_writing and not self.transport.has_bytes()
        if self.state is State.HANDSHAKE or is_idle:
            if idle_until <= self.now():
                self.cut(End.DRAINED)
            else:
                self.end = self.end or End.DRAINED
                self._read_by = self.scope.deadline = idle_until
            return True
        if self.state in (State.IDLE, State.ENDING):
            self.read_within(self.limits.drain_grace_s)
        elif self.scope.deadline != inf:
            latest = self.now() + self.limits.drain_grace_s
            self._read_by = min(self._read_by, latest) if self._read_by != inf else inf
            self._write_by = min(self._write_by, latest) if self._write_by != inf else inf
            self.scope.deadline = min(self._read_by, self._write_by)
        return False

    def too_slow(self) -> End | None:
        """The wait for the client that took too long, if it ended the connection. Call it after the scope."""
        if self.end is not None or not self.scope.cancelled_caught:
            return None
        return End.SLOW_READER if self._write_by < self._read_by else _WHEN_TOO_LATE[self.state]

    async def send(self, data: bytes) -> None:  # noqa: ASYNC910 - the next step waits for the client or its end
        """Send all of it within the bound of a write. Raises `trio.BrokenResourceError`."""
        if not self.transport.send_now(data):
            await self.flush()

    async def flush(self) -> None:
        """Wait until the kernel has everything that was to be sent, within the bound of a write."""
        self.written_within(self._timeouts.spread_timeout_s(self.limits.write_timeout_s))
        await self.transport.flush()
        self.written_within(inf)

    async def say_last(self, answer: bytes, end: End) -> None:
        """Send a last answer in such a way that the client can read it. end: if there was no cause before."""
        self.end = self.end or end
        self.linger(self.limits.linger_timeout_s)
        await self.send(answer)
        await self.wait_for_the_end()

    async def wait_for_the_end(self) -> None:
        """Read on for a while: to close with unread bytes sends an RST, which can undo an answer."""
        self.linger(self.limits.linger_timeout_s)
        await self.transport.send_eof()
        left = self.limits.linger_max_bytes
        while left > 0 and (data := await self.transport.receive()):
            left -= len(data)

    def how_it_ended(self) -> End:
        """The cause. It is final once the scope is left."""
        self.end = self.end or self.too_slow() or End.STOPPED
        return self.end

    def close(self) -> None:
        """Close the transport. Called once the scope is left; synchronous."""
        if self.reset or self.how_it_ended() in (End.SLOW_READER, End.STOPPED):  # SLOW_READER: from HTTP/2
            self.transport.abort()
        else:
            self.transport.close()
