"""One client connection: carries one request at a time, and is read until it ends.

Rule 1: a request carried is settled exactly once: by its answer, by the connection's end, or by the client.
Rule 2: time counts from the moment the request's bytes were written until its answer's last byte came.
Rule 3: a close crosses a request when it meets it on its way: on a connection used before, without a byte of
an answer, and before the server can have read it (it refused the bytes, or reset at once). Else it is broken.
Rule 4: it is also read while it is idle, so a close by the server is seen at once.
Rule 5: what comes is read where it is told of: an answer wakes no task, which would be the costliest
part of it, and a generator on one core has to keep up with a server on another.
"""

from __future__ import annotations

import errno
from typing import Protocol

import httptools
import trio

from fanout.loop.sockets import UNREAD, sockets

from .answer import AnswerReader
from .outcome import Outcome, judged
from .shot import Shot
from .wire import Wire

CROSSING_MS = 100.0  # a server that let a request lie for longer neglected it


class Owner(Protocol):
    """Who keeps the connections and the accounts. All calls are synchronous and must not raise."""

    allowance_ms: float
    keep_alive: bool

    def settled(
        self, connection: Connection, outcome: Outcome, answered_at: float | None, status: int, reason: str
    ) -> None:
        """The connection's request has its outcome; `answered_at` only with a complete answer."""

    def spoke_unasked(self, connection: Connection) -> None:
        """The server sent bytes that answer no request."""

    def idle(self, connection: Connection) -> None:
        """The connection is ready for another request."""

    def gone(self, connection: Connection) -> None:
        """The connection is closed."""


class Connection:
    """Created with its first request; `run` is its task, every other method is synchronous."""

    __slots__ = (
        "_ended", "_owner", "_reader", "_wire", "carried", "closed", "connected",
        "intended_at", "launched_at", "shot", "started", "written_at",
    )  # fmt: skip

    def __init__(self, wire: Wire, owner: Owner) -> None:
        self._wire = wire
        self._owner = owner
        self._ended = trio.Event()
        self._reader = AnswerReader()
        self.connected = False
        self.closed = False
        self.carried = 0  # requests so far: tells a later request from an earlier one
        self.shot: Shot | None = None  # the request in flight
        self.intended_at = self.launched_at = self.written_at = 0.0
        self.started = False  # a byte of the answer has come

    def carry(self, shot: Shot, intended_at: float, now: float) -> None:
        """Send one request now, or as soon as the connection is made."""
        self.shot = shot
        self.intended_at = intended_at
        self.launched_at = self.written_at = now
        self.started = False
        self.carried += 1
        self._reader.clear()
        if self.connected:
            self._write(shot)

    def end(self, outcome: Outcome, reason: str = "", *, reset: bool = False) -> None:
        """Settle the request in flight, if there is one, and close the connection. Idempotent."""
        if self.shot is not None:
            self._settle(outcome, None, 0, reason)
        if not self.closed:
            self.closed = True
            self._close(reset=reset)
            self._owner.gone(self)

    async def run(self) -> None:  # noqa: ASYNC910 - what is caught here was raised by a wait
        """Connect, and wait until the connection ends. Closed and settled when it returns."""
        try:
            await self._wire.open()
            self.connected = True
            sockets().watch(self._wire.socket.fileno(), UNREAD, self._told)
            if self.shot is not None:
                self.written_at = trio.current_time()
                self._write(self.shot)
            await self._ended.wait()
        except trio.ClosedResourceError:
            pass  # `end` was called while it was being opened
        except OSError as error:
            self.end(self._lost(), _word(error))
        finally:
            self._close()

    def _told(self, events: int) -> bool:
        try:
            self._read()
        except OSError as error:
            self.end(self._lost(), _word(error))
        return self.closed

    def _close(self, *, reset: bool = False) -> None:
        self._ended.set()
        sockets().forget(self._wire.socket.fileno())
        self._wire.close(reset=reset)

    def _write(self, shot: Shot) -> None:
        try:
            self._wire.send(shot.request)
        except (BrokenPipeError, ConnectionResetError):
            self.end(Outcome.CROSSED if self.carried > 1 else Outcome.BROKEN, "closed unsent")
        except OSError as error:
            self.end(Outcome.NOT_CONNECTED, _word(error))

    def _read(self) -> None:
        try:
            data, age_s = self._wire.receive()
        except BlockingIOError:
            return
        if not data:
            self._ended_by_server()
            return
        self.started = True
        if self.shot is None:
            self._owner.spoke_unasked(self)
            self.end(Outcome.BROKEN)
            return
        malformed = False
        try:
            self._reader.feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            malformed = True
        if self._reader.complete:
            answered_at = max(trio.current_time() - age_s, self.written_at)  # the system's clock may be set
            self._answered(self.shot, answered_at, more=malformed or self._reader.extra)
        elif malformed:
            self.end(Outcome.MALFORMED, "not HTTP")

    def _ended_by_server(self) -> None:
        if self.started:
            self.end(Outcome.BROKEN, "closed in the answer")
        elif self.carried > 1 and self._wire.peer_refused_bytes():
            self.end(Outcome.CROSSED, "closed unsent")
        else:
            self.end(Outcome.BROKEN, "closed")

    def _lost(self) -> Outcome:
        """What a reset means: a server that closes with bytes unread resets the connection."""
        if not self.connected:
            return Outcome.NOT_CONNECTED
        soon = (trio.current_time() - self.written_at) * 1000 < CROSSING_MS
        return Outcome.CROSSED if self.carried > 1 and not self.started and soon else Outcome.BROKEN

    def _answered(self, shot: Shot, answered_at: float, *, more: bool) -> None:
        reader = self._reader
        outcome, reason = judged(
            reader.status,
            reader.body,
            shot.endpoint,
            took_ms=(answered_at - self.written_at) * 1000,
            limit_ms=shot.timeout_ms + self._owner.allowance_ms,
        )
        self._settle(outcome, answered_at, reader.status, reason)
        if more:
            self._owner.spoke_unasked(self)
        if more or not reader.keep_alive or not self._owner.keep_alive:
            self.end(Outcome.BROKEN)
        else:
            self._owner.idle(self)

    def _settle(self, outcome: Outcome, answered_at: float | None, status: int, reason: str) -> None:
        self._owner.settled(self, outcome, answered_at, status, reason)
        self.shot = None


def _word(error: OSError) -> str:
    """A short stable word for an error of the system: its symbol, or the TLS library's reason."""
    symbol = errno.errorcode.get(error.errno or 0)
    return symbol or str(getattr(error, "reason", None) or type(error).__name__)
