"""HTTP/1.x on one connection: read a head, shed the request or run the app, continue with the next one.

Rule 1: the `refuse` hook is called before a byte of a new request is parsed. A rejection takes one read and
        one write, and wakes no task.
Rule 2: after a request whose end is unknown, nothing more is read as a request.
"""

from __future__ import annotations

from typing import Any, Final

import trio

from fanout.server import rejections
from fanout.server.asgi import ARRIVAL_KEY, CALLER_KEY, App, Scope
from fanout.server.body import Body
from fanout.server.connection import Connection, State
from fanout.server.cycle import Cycle
from fanout.server.driver import Driver
from fanout.server.head import END, Head, check_size, check_unfinished, parse_head
from fanout.server.rejections import Rejected, Rejection
from fanout.server.statistics import End
from fanout.server.transport import Transport

_MEMORABLE_BYTES: Final = 1024  # the largest request that is kept per connection


async def serve_stream(app: App, driver: Driver, transport: Transport) -> None:
    """Serve HTTP/1 over any transport to its end, without hypercorn. Raises only `Cancelled`."""

    async def serve(connection: Connection) -> None:
        await Http1(driver, connection, app, {}).run()

    await driver.hold(transport, serve)


class Http1:
    """The loop of one connection."""

    __slots__ = (
        "_ahead",
        "_app",
        "_body",
        "_connection",
        "_driver",
        "_lifespan_state",
        "_limits",
        "_plain",
        "_refusal",
        "_refusal_is_last",
        "_transport",
    )

    def __init__(
        self, driver: Driver, connection: Connection, app: App, lifespan_state: dict[str, Any]
    ) -> None:
        self._driver = driver
        self._limits = driver.limits
        self._connection = connection
        self._transport = connection.transport
        self._app = app
        self._lifespan_state = lifespan_state
        self._body = Body()
        self._ahead = b""  # received and not yet part of a request
        self._refusal = b""  # a rejection still to be sent, or of which the kernel has not taken all
        self._refusal_is_last = False
        self._plain = b""  # the last plain request that was shed: its client often repeats it

    async def run(self) -> None:  # noqa: ASYNC910 - the task of a connection, and its last act
        """Serve until either side ends it. The connection records how it ended."""
        self._connection.wait_idle()
        try:
            while await self._serve_request():
                self._connection.wait_again()
        except Rejected as rejected:
            self._driver.malformed += 1
            await self._answer_last(rejected.rejection)

    async def _serve_request(self) -> bool:
        """Serve one request. Returns whether there may be another."""
        data = await self._first_bytes()
        if not data:
            return False
        if self._refusal:
            return await self._finish_refusal()
        self._driver.beginning -= 1
        head = await self._read_head(data)
        if head is None:
            return False
        arrived_at = self._connection.now()
        if self._connection.scope.cancel_called:
            await trio.lowlevel.checkpoint()  # the head came in the iteration of its timeout: too late
        self._connection.work()
        self._driver.requests += 1
        return await self._run_app(head, arrived_at)

    async def _first_bytes(self) -> bytes:
        """The first bytes of the next admitted request; none when there will be no more."""
        if self._ahead:
            await trio.lowlevel.checkpoint()  # a client with many requests waits like many clients with one
            data, self._ahead = self._ahead, b""
            if not self._is_refused(data):
                return data
        if self._driver.draining and not self._transport.has_bytes():
            self._connection.end = End.DRAINED
            return b""  # noqa: ASYNC910 - it ends here
        data = await self._transport.receive_unless(self._is_refused)
        if not data:
            self._connection.end = End.CALLER_LEFT
        return data

    def _is_refused(self, data: bytes) -> bool:
        """Whether `data` was a request that is now shed completely.

        If not, the task reads `data`, or finishes the `_refusal` if there is one. The connection stays open
        only if `data` is one whole request that cannot have a body.
        """
        driver = self._driver
        answer = driver.refuse(driver.beginning)
        if answer is None:
            driver.beginning += 1
        else:
            driver.refused += 1
            self._refusal_is_last = driver.draining or not (data == self._plain or self._can_be_refused(data))
            if self._refusal_is_last:
                self._refusal = answer.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
            else:
                if self._transport.send_now(answer):
                    self._connection.wait_idle()
                    return True
                self._refusal = answer
        self._connection.not_idle()
        return False

    def _can_be_refused(self, data: bytes) -> bool:
        """Whether a rejection of these unread bytes answers all of them."""
        is_plain = _is_plain(data)
        if is_plain and len(data) <= _MEMORABLE_BYTES:
            self._plain = data
        return is_plain

    async def _read_head(self, data: bytes) -> Head | None:
        """The head that `data` begins with; `None` if the client disconnects within it. Raises `Rejected`."""
        passed_over = data.startswith(b"\r\n")  # some clients end a body with an extra line; RFC 9112 2.2
        if passed_over:
            data = data[2:]
        end = data.find(END)
        if end < 0:
            self._connection.wait(State.HEAD, self._limits.head_timeout_s)
        checked = 0
        while end < 0:
            check_unfinished(data, checked, self._limits)
            checked = len(data)
            more = await self._transport.receive()
            if not more:
                self._connection.end = End.CALLER_LEFT
                return None
            data += more
            if not passed_over and data.startswith(b"\r\n"):  # the extra line came in two pieces
                data, checked, passed_over = data[2:], 0, True
            end = data.find(END, max(0, checked - 3))
        end += len(END)
        check_size(data, end, self._limits)
        head_bytes, self._ahead = data[:end], data[end:]
        head = parse_head(head_bytes, self._limits)
        self._body.begin(head_bytes, head.body_length)
        return head  # noqa: ASYNC910 - reading its first bytes was a checkpoint

    async def _finish_refusal(self) -> bool:
        """Send the rest of the rejection. Returns whether there may be another request."""
        answer, self._refusal = self._refusal, b""
        if self._refusal_is_last:
            await self._send_last(answer, End.REFUSED)
            return False
        await self._connection.flush()
        self._connection.wait_idle()
        return True

    async def _run_app(self, head: Head, arrived_at: float) -> bool:
        cycle = Cycle(self._connection, self._limits, self._driver.date, head, self._body)
        cycle.ahead = self._ahead
        crashed = False
        try:
            await self._app(self._scope(head, arrived_at), cycle.receive, cycle.send)
        except* Exception as group:  # noqa: BLE001 - the guard
            crashed = True
            self._driver.report(group)
        self._ahead = cycle.ahead
        if cycle.complete and not self._connection.reset:
            if cycle.keep_alive and not crashed and not cycle.caller_left:
                return True  # noqa: ASYNC910 - the next request, or its turn, is waited for
            self._connection.end = End.CALLER_LEFT if cycle.caller_left else End.ANSWERED
            if not cycle.caller_left and (self._ahead or not self._body.ended or self._transport.has_bytes()):
                await self._connection.wait_for_the_end()
        elif cycle.caller_left:
            self._connection.end = End.CALLER_LEFT
        elif cycle.rejected is not None and not cycle.started:
            raise cycle.rejected
        else:
            if not crashed:
                self._driver.report(RuntimeError("the app returned without a complete answer"))
            self._connection.end = End.CRASHED
            if cycle.started:
                self._connection.reset = True
            else:
                await self._answer_last(rejections.INTERNAL)
        return False  # noqa: ASYNC910 - it ends here

    def _scope(self, head: Head, arrived_at: float) -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": head.version,
            "method": head.method,
            "scheme": self._transport.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": "",
            "headers": head.fields,
            "client": self._transport.client,
            "server": self._transport.server,
            "state": self._lifespan_state.copy(),
            "extensions": {},
            ARRIVAL_KEY: arrived_at,
            CALLER_KEY: self._connection,
        }

    async def _answer_last(self, rejection: Rejection) -> None:
        await self._send_last(self._driver.last_answer(rejection), End.REFUSED)

    async def _send_last(self, answer: bytes, end: End) -> None:
        self._connection.end = self._connection.end or end
        await self._connection.say_last(answer)


def _is_plain(data: bytes) -> bool:
    """Whether this is one whole request without a body that does not end the connection."""
    if data.find(END) + len(END) != len(data) or not data.startswith(b"GET "):
        return False
    data = data.lower()
    return not (  # spelled out, this takes a third of a loop's time, and a tenth of a regular expression's
        b"content-length" in data
        or b"transfer-encoding" in data
        or b"close" in data
        or b"upgrade" in data
        or b"http/1.0" in data
    )
