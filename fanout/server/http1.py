"""HTTP/1.x on one connection: read a head, shed the request or run the app, continue with the next one.

Rule 1: the `shed` hook is called before a byte of a new request is parsed. A rejection takes one read and
        one write, and wakes no task.
Rule 2: after a request whose end is unknown, nothing more is read as a request.
"""

from __future__ import annotations

from typing import Any, Final

import trio

from fanout.server import rejections
from fanout.server.asgi import App, http_scope
from fanout.server.connection import Connection
from fanout.server.driver import Driver
from fanout.server.head import Head
from fanout.server.http1_reader import END_OF_HEAD, Reader
from fanout.server.http1_request import Request
from fanout.server.rejections import Rejected
from fanout.server.statistics import End

_MEMORABLE_BYTES: Final = 1024  # the largest request that is kept per connection
_HEAD_REQUEST: Final = (b"HEAD ", b"\r\nHEAD ")


class Http1:
    """The loop of one connection."""

    __slots__ = (
        "_app",
        "_connection",
        "_driver",
        "_lifespan_state",
        "_plain",
        "_reader",
        "_rejection",
        "_rejection_is_last",
        "_transport",
    )

    def __init__(
        self, driver: Driver, connection: Connection, app: App, lifespan_state: dict[str, Any]
    ) -> None:
        self._driver = driver
        self._connection = connection
        self._transport = connection.transport
        self._app = app
        self._lifespan_state = lifespan_state
        self._reader = Reader(connection)
        self._rejection = b""  # still to be sent, or of which the kernel has not taken all
        self._rejection_is_last = False
        self._plain = b""  # the last plain request that was shed: its client often repeats it

    async def run(self) -> None:  # noqa: ASYNC910 - the task of a connection, and its last act
        """Serve until either side ends it. The connection records how it ended."""
        self._connection.wait_idle()
        try:
            while await self._serve_request():
                self._connection.wait_again()
        except Rejected as rejected:
            self._driver.malformed += 1
            answer = self._driver.last_answer(rejected.rejection, self._connection.is_for_head)
            await self._connection.say_last(answer, End.REFUSED)

    async def _serve_request(self) -> bool:
        """Serve one request. Returns whether there may be another."""
        data = await self._first_bytes()
        if not data:
            return False
        if self._rejection:
            return await self._finish_rejection()
        self._driver.beginning -= 1
        head = await self._reader.read_head(data)
        if head is None:
            self._connection.end = End.CLIENT_DISCONNECTED
            return False
        arrived_at = self._connection.now()
        if self._connection.scope.cancel_called:
            await trio.lowlevel.checkpoint()  # the head came in the iteration of its timeout: too late
        self._connection.work()
        self._driver.requests += 1
        return await self._run_app(head, arrived_at)

    async def _first_bytes(self) -> bytes:
        """The first bytes of the next admitted request; none when there will be no more."""
        if self._reader.ahead:
            await trio.lowlevel.checkpoint()  # a client with many requests waits like many clients with one
            data, self._reader.ahead = self._reader.ahead, b""
            if not self._is_shed(data):
                return data
        if self._driver.draining and not self._transport.has_bytes():
            self._connection.end = End.DRAINED
            return b""  # noqa: ASYNC910 - it ends here
        data = await self._transport.receive_unless(self._is_shed)
        if not data:
            self._connection.end = End.CLIENT_DISCONNECTED
        return data

    def _is_shed(self, data: bytes) -> bool:
        """Whether `data` was a request that is now shed completely.

        If not, the task reads `data`, or finishes the `_rejection` if there is one. The connection stays open
        only if `data` is one whole request that cannot have a body.
        """
        driver = self._driver
        answer = driver.shed(driver.beginning)
        if answer is None:
            driver.beginning += 1
        else:
            driver.refused += 1
            self._rejection_is_last = self._connection.closes_after_answer or not (
                data == self._plain or self._is_plain(data)
            )
            if self._rejection_is_last:
                self._rejection = answer.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
                if data.startswith(_HEAD_REQUEST):
                    self._rejection, _, _ = self._rejection.partition(END_OF_HEAD)
                    self._rejection += END_OF_HEAD
            else:
                if self._transport.send_now(answer):
                    self._connection.wait_idle()
                    return True
                self._rejection = answer
        self._connection.not_idle()
        return False

    def _is_plain(self, data: bytes) -> bool:
        """Whether a rejection of these unread bytes answers all of them."""
        is_plain = _is_plain(data)
        if is_plain and len(data) <= _MEMORABLE_BYTES:
            self._plain = data
        return is_plain

    async def _finish_rejection(self) -> bool:
        """Send the rest of the rejection. Returns whether there may be another request."""
        answer, self._rejection = self._rejection, b""
        if self._rejection_is_last:
            await self._connection.say_last(answer, End.REFUSED)
            return False
        await self._connection.flush()
        self._connection.wait_idle()
        return True

    async def _run_app(self, head: Head, arrived_at: float) -> bool:
        connection, reader = self._connection, self._reader
        request = Request(connection, self._driver.date, head, reader)
        scope = http_scope(head, self._transport, self._lifespan_state, arrived_at, connection)
        crashed = False
        try:
            await self._app(scope, request.receive, request.send)
        except* Exception as group:  # noqa: BLE001 - the guard
            crashed = True
            self._driver.report(group)
        if request.client_left:
            connection.end = End.CLIENT_DISCONNECTED
        elif request.is_sent:
            if request.keep_alive and not crashed:
                return True  # noqa: ASYNC910 - the next request, or its turn, is waited for
            connection.end = End.ANSWERED
            if reader.has_bytes():
                await connection.wait_for_the_end()
        elif request.rejected is not None and not request.started:
            connection.is_for_head = head.method == "HEAD"
            raise request.rejected
        else:
            if not crashed:
                self._driver.report(RuntimeError("the app returned without a complete answer"))
            if request.started:
                connection.end, connection.reset = End.CRASHED, True
            else:
                answer = self._driver.last_answer(rejections.INTERNAL, head.method == "HEAD")
                await connection.say_last(answer, End.CRASHED)
        return False  # noqa: ASYNC910 - it ends here


def _is_plain(data: bytes) -> bool:
    """Whether this is one whole request without a body that does not end the connection."""
    if data.find(END_OF_HEAD) + len(END_OF_HEAD) != len(data) or not data.startswith(b"GET "):
        return False
    data = data.lower()
    return not (  # spelled out, this takes a third of a loop's time, and a tenth of a regular expression's
        b"content-length" in data
        or b"transfer-encoding" in data
        or b"close" in data
        or b"upgrade" in data
        or b"http/1.0" in data
    )
