"""The whole server over memory: connection driver, app, admission, race and pool are the real ones."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

import trio

from fanout.api.app import make_app
from fanout.api.exchange import Exchanges
from fanout.api.handlers import Races
from fanout.api.problems import render
from fanout.race.admission import Admission
from fanout.race.events import EVENTS, BugFound, Event
from fanout.race.outcome import Cancelled, Failure, Success
from fanout.race.race import Call
from fanout.race.timings import CallTimings
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.server.serve import Connections
from fanout.upstream.call import UpstreamCall
from fanout.upstream.transport import PoolTransport
from tests.sweep.line import Line, LineTransport
from tests.sweep.upstream import Upstream

RESERVE_MS: Final = 20
NAME: Final = "http://upstream.example"  # two addresses
LITERAL: Final = "http://192.0.2.1"
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the usual one takes 20 ms to make


@dataclass(slots=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes
    at: float


class Client:
    """The other end of a connection."""

    def __init__(self) -> None:
        self.to_server, self.from_server = Line(), Line()
        self.received = bytearray()
        self.answers: list[Answer] = []
        self.end: str | None = None

    def send(self, data: bytes) -> None:
        assert self.to_server.put(data) == len(data)

    async def read(self, answers: int, every_s: float = 0) -> None:
        """Read until so many answers have come in all, or the end. `every_s`: 8 KiB at a time."""
        while len(self.answers) < answers and self.end is None:
            await self.from_server.readable()
            if every_s:
                await trio.sleep(every_s)
            try:
                data = self.from_server.take(8192 if every_s else 65536)
                self.end = None if data else "fin"
            except trio.BrokenResourceError:
                data, self.end = b"", "rst"
            self.received += data
            while self._take_answer():
                pass

    def close(self, how: str = "fin") -> None:
        self.from_server.abandon()
        self.to_server.finish("rst" if how == "rst" else "fin")

    def _take_answer(self) -> bool:
        head, blank, rest = bytes(self.received).partition(b"\r\n\r\n")
        if not blank:
            return False
        line, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1"
        fields = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
        length = int(fields["content-length"])
        if len(rest) < length:
            return False
        self.answers.append(Answer(int(status), fields, rest[:length], trio.current_time()))
        del self.received[: len(head) + 4 + length]
        return True


class LoneCall:
    """A call in a scope of its own, so that it can be cancelled alone, as by a limit of its own."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.scopes: dict[trio.lowlevel.Task, trio.CancelScope] = {}

    async def __call__(self, timings: CallTimings) -> Success | Failure | Cancelled:
        task = trio.lowlevel.current_task()
        with trio.CancelScope() as scope:
            self.scopes[task] = scope
            try:
                return await self._call(timings)
            finally:
                del self.scopes[task]
        return Failure("unreachable")


class _Relay:
    """Calls and observer of the server that is running: the app is made once for all runs."""

    def __init__(self) -> None:
        self.stack: Stack
        self.races = Races([self.first, self.second], self, 1000, 30_000, lambda: RESERVE_MS)
        self.app = make_app(self.races)

    async def first(self, timings: CallTimings) -> Success | Failure | Cancelled:
        return await self.stack.calls[0](timings)

    async def second(self, timings: CallTimings) -> Success | Failure | Cancelled:
        return await self.stack.calls[1](timings)

    interests = EVENTS

    def notify(self, event: Event) -> None:
        self.stack.events.append(event)


_RELAY: Final = _Relay()


class Stack:
    """One server. `nursery` is all of it: the connections, and the transport's background task."""

    def __init__(self, *, max_in_flight: int = 4, keepalive_expiry_s: float = 30, url: str = LITERAL) -> None:
        self.upstream = Upstream()
        self.transport = PoolTransport(
            max_connections=max_in_flight * 2,
            keepalive_expiry_s=keepalive_expiry_s,
            ssl_context=_NO_TLS,
            dial=self.upstream.dial,
            look_up=self.upstream.look_up,
        )
        self.calls = [LoneCall(UpstreamCall(self.transport, f"{url}/{call}")) for call in (0, 1)]
        self.admission = Admission(max_in_flight)
        self.events: list[Event] = []
        self.crashes: list[BaseException] = []
        self.refusal: bytes | None = None
        self.driver = Driver(
            Limits(), on_crash=self.crashes.append, render=render, shed=lambda _: self.refusal
        )
        _RELAY.stack = self
        self.app = Exchanges(_RELAY.app, self.admission, _RELAY, id_prefix="sweep")
        self.nursery: trio.Nursery
        self.scopes: dict[trio.lowlevel.Task, trio.CancelScope] = {}  # of the connections
        self.lines: list[LineTransport] = []
        self.others: list[Client] = []  # whose requests are in flight
        self.kept: list[str] = []  # what a request still held when its answer began

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as self.nursery:
            await self.nursery.start(self.transport.run)
            self.nursery.start_soon(self.driver.run)
            task_status.started()
            await trio.sleep_forever()

    async def connect(self) -> Client:
        client = Client()
        line = LineTransport(client.to_server, client.from_server, self._answer_begins)
        self.lines.append(line)
        await self.nursery.start(self._serve, line, name="connection")
        return client

    async def _serve(self, line: LineTransport, *, task_status: trio.TaskStatus[None]) -> None:
        task = trio.lowlevel.current_task()
        with trio.CancelScope() as self.scopes[task]:
            task_status.started()
            await Connections(self.app, self.driver, {}).hold(line)
        del self.scopes[task]

    def _answer_begins(self) -> None:
        """G3, as the first byte of any answer is written."""
        in_use = sum(origin.in_use for origin in self.transport.statistics().origins)
        if self.admission.in_flight > len(self.others) or in_use > 2 * len(self.others):
            self.kept.append(f"{self.admission.in_flight} tokens, {in_use} connections as the answer begins")

    def drain(self) -> None:
        """As the service does when it is told to stop."""
        self.app.draining = True
        self.driver.drain()

    @property
    def bugs(self) -> list[BaseException]:
        """Every report of a bug."""
        return [event.exception for event in self.events if isinstance(event, BugFound)] + self.crashes

    def left(self) -> list[str]:
        """What requests and clients have left behind, once they are all gone."""
        left = []
        driver = self.driver.statistics()
        if driver.open or driver.waiting or sum(driver.ended.values()) != driver.accepted:
            left.append(f"connections: {driver}")
        if not all(line.closed for line in self.lines):
            left.append("a client's socket")
        if self.admission.in_flight:
            left.append(f"tokens: {self.admission.in_flight}")
        idle = 0
        for origin in self.transport.statistics().origins:
            idle += origin.idle
            if origin.in_use or origin.connecting or origin.open != origin.idle:
                left.append(f"slots: {origin}")
            if origin.opened != origin.open + sum(origin.closed.values()):
                left.append(f"connections not accounted for: {origin}")
        if self.upstream.open_wires != idle:
            left.append(f"sockets: {self.upstream.open_wires} open, {idle} idle in the pool")
        return left
