"""One request and its one answer, around the framework.

This module handles everything that must hold for every answer: its id, its common headers, its admission,
and whether it was on time. The handlers only run races.

Rule 1: the admission permit is given back before the first byte of the answer is sent (G3), and in
        any case when the request ends. Both are synchronous.
Rule 2: an exception of the framework becomes one reported bug and one 500 with the request's id (G11). If the
        answer has begun, the exception goes on to the driver, which resets the connection.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from fanout.api import problems
from fanout.api.problems import Problem
from fanout.observe.leak_check import LeakCheck, RequestTasks
from fanout.observe.receipt import CLIENT_DISCONNECTED
from fanout.race.admission import Admission
from fanout.race.events import BugFound, Observer, RequestEnded
from fanout.race.race import Race
from fanout.race.timings import Trace
from fanout.server.asgi import (
    ANSWER,
    ARRIVAL_KEY,
    CLIENT_KEY,
    App,
    Client,
    Message,
    Receive,
    Scope,
    Send,
    send_answer,
)

SCOPE_KEY: Final = "fanout.exchange"  # where handlers find the exchange in the ASGI scope
_RECEIPT_FIELD: Final = b"x-fanout-receipt"  # "1": the client asks for the receipt
_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}\Z")


@dataclass(slots=True, eq=False)
class Exchange:
    """What the edge knows about one request.

    headers: all that the client sent, in order. fields: the same by name; of a name that is there twice, the
    last. client: its connection. address: the client's, with its port. race: set once the timeout is known.
    reason: that of a problem which is the answer without a race. crashed: the framework raised.
    """

    request_id: str
    arrived_at: float
    trace: Trace | None
    wants_receipt: bool
    headers: Sequence[tuple[bytes, bytes]]
    fields: Mapping[bytes, bytes]
    query: bytes
    client: Client
    method: str
    raw_path: bytes
    address: tuple[str, int] | None
    race: Race | None = None
    reason: str | None = None
    status: int | None = None
    answered: bool = False
    crashed: bool = False
    tasks: RequestTasks | None = None


def exchange_of(scope: Mapping[str, Any]) -> Exchange:
    """The exchange that a request's ASGI scope belongs to."""
    exchange = scope[SCOPE_KEY]
    assert isinstance(exchange, Exchange)
    return exchange


def not_traced(scope: Scope, fields: Mapping[bytes, bytes]) -> Trace | None:
    """The tracer of a server that has none."""
    return None


class Exchanges:
    """An ASGI app around the framework's."""

    def __init__(
        self,
        app: App,
        admission: Admission,
        observer: Observer,
        *,
        id_prefix: str,
        begin_trace: Callable[[Scope, Mapping[bytes, bytes]], Trace | None] = not_traced,
        leak_check: LeakCheck | None = None,
    ) -> None:
        """begin_trace: asked once a request, with its headers; what it gives comes back in `RequestEnded`."""
        self._app = app
        self._admission = admission
        self._observer = observer
        self._begin_trace = begin_trace
        self._leak_check = leak_check
        self._id_prefix = f"{id_prefix}-"
        self._numbers = itertools.count(1)
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fields = dict(scope["headers"])
        exchange = Exchange(
            self._request_id(scope, fields),
            scope[ARRIVAL_KEY],
            self._begin_trace(scope, fields),
            fields.get(_RECEIPT_FIELD) == b"1",
            scope["headers"],
            fields,
            scope["query_string"],
            scope[CLIENT_KEY],
            scope["method"],
            scope["raw_path"],
            scope["client"],
        )
        scope[SCOPE_KEY] = exchange
        problem = self._refuse(fields)
        if problem is not None:
            await self._send_refusal(exchange, problem, scope, send)
            return
        try:
            await self._answer(exchange, scope, receive, send)
        finally:
            if exchange.status is None:
                self._admission.give_back()
            if self._leak_check is not None and exchange.tasks is not None:
                self._leak_check.end(exchange.tasks)
            if not exchange.answered:
                exchange.reason = problems.INTERNAL.reason if exchange.crashed else CLIENT_DISCONNECTED
                self._end(exchange)

    def _request_id(self, scope: Scope, fields: Mapping[bytes, bytes]) -> str:
        """The client's id if it sent exactly one valid id, else a new one."""
        if b"x-request-id" in fields:
            sent = [value for name, value in scope["headers"] if name == b"x-request-id"]
            if len(sent) == 1 and _SANE_REQUEST_ID.match(sent[0]):
                return bytes(sent[0]).decode("ascii")
        return self._id_prefix + hex(next(self._numbers))[2:]

    def _refuse(self, fields: Mapping[bytes, bytes]) -> Problem | None:
        """Why this request gets no further, or `None`: then it holds a token."""
        if b"transfer-encoding" in fields or fields.get(b"content-length", b"").strip(b"0"):
            return problems.UNEXPECTED_BODY
        if self.draining:
            return problems.DRAINING
        if not self._admission.try_take():
            return problems.OVERLOADED
        return None

    async def _send_refusal(self, exchange: Exchange, problem: Problem, scope: Scope, send: Send) -> None:
        exchange.status, exchange.reason = problem.status, problem.reason
        self._end(exchange)
        fields, body = problem.answer(exchange.request_id)
        await send_answer(send, problem.status, fields, body, head_only=scope["method"] == "HEAD")

    async def _answer(  # noqa: ASYNC910 - to send is a checkpoint
        self, exchange: Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        common = [(b"cache-control", b"no-store"), (b"x-request-id", exchange.request_id.encode("ascii"))]
        head_only = scope["method"] == "HEAD"  # Quart sends the body all the same

        async def send_part(message: Message) -> None:
            kind = message["type"]
            if kind != "http.response.body":
                exchange.status = message["status"]
                self._admission.give_back()  # Rule 1
                if self._leak_check is not None and exchange.tasks is not None:
                    self._leak_check.answer(exchange.tasks)
                message["headers"] += common
            if head_only and kind != "http.response.start":
                message["body"] = b""
            await send(message)
            if kind == ANSWER or (kind == "http.response.body" and not message.get("more_body", False)):
                exchange.answered = True
                self._end(exchange)

        try:
            if self._leak_check is not None:
                exchange.tasks = self._leak_check.begin(exchange.request_id)
            await self._app(scope, receive, send_part)
        except* Exception as bugs:
            exchange.crashed = True
            if exchange.status is not None:
                raise
            where = f"{scope['method']} {scope['path']}"
            self._observer.notify(BugFound(exchange.request_id, where, _one_of(bugs), trio.current_time()))
        if exchange.crashed:
            problem, exchange.reason = problems.INTERNAL, problems.INTERNAL.reason
            fields = [("Content-Type", problems.CONTENT_TYPE)]
            await send_answer(send_part, problem.status, fields, problem.body(exchange.request_id))

    def _end(self, exchange: Exchange) -> None:
        """Notify the observer of the end, exactly once per request. Only an answer can be late."""
        now, race, late_by_s = trio.current_time(), exchange.race, 0.0
        if race is not None and exchange.answered:
            late_by_s = max(0.0, now - race.budget.answer_due_at)
        self._observer.notify(
            RequestEnded(
                exchange.request_id,
                exchange.trace,
                exchange.arrived_at,
                exchange.status,
                exchange.reason,
                late_by_s,
                exchange.client.left_at if exchange.reason == CLIENT_DISCONNECTED else None,
                None if race is None else race.record(),
                now,
                exchange.method,
                exchange.raw_path,
                exchange.address,
            )
        )


def _one_of(bugs: ExceptionGroup[Exception]) -> Exception:
    """The exception if it is the only one in the group, else the group."""
    bug: Exception = bugs
    while isinstance(bug, ExceptionGroup) and len(bug.exceptions) == 1:
        bug = bug.exceptions[0]
    return bug
