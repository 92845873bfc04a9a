"""One world: the whole server, clients and upstreams in memory, in virtual time, by a plan and a seed.

Real are the connection driver, the Quart-Trio app, admission, overload control, the race, the upstream call
and the pool (`server`). Replaced are the kernel (`network`), the clock and the scheduler's chance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import trio
import trio.testing

from fanout.api.handlers import Endpoints
from fanout.loop.turns import Turns
from fanout.race.events import EVENTS, BugFound, Event, RequestEnded
from fanout.server.asgi import Message, Receive, Scope, Send
from fanout.server.serve import Connections
from fanout.server.tls import STEPS_PER_ITERATION
from fanout.server.transport import Transport
from fanout.testing.world import clients
from fanout.testing.world.adapters import ClientTransport
from fanout.testing.world.answers import BadAnswer
from fanout.testing.world.counted import Counts, ThreadStarts, bugs_in
from fanout.testing.world.ended import Ended, Oracle
from fanout.testing.world.facts import ConnectionFacts, RequestFacts
from fanout.testing.world.facts_streams import StreamsFacts
from fanout.testing.world.leftovers import Baseline, bugs_told, leftovers, not_looked_at, pool_leftovers
from fanout.testing.world.network import End, Network
from fanout.testing.world.plan import ClientScript, Plan, Stall
from fanout.testing.world.scheduler import run_seeded
from fanout.testing.world.server import Server
from fanout.testing.world.tls import SecureTransport
from fanout.testing.world.trace import Trace
from fanout.testing.world.upstreams import CURRENT_REQUEST, PlannedCall, Upstreams
from fanout.upstream.transport import PoolTransport

HORIZON_S: Final = 3600.0  # no plan lasts that long: what is still there then hangs
AFTERWARDS_S: Final = 1.0  # for what is on its way to arrive, and for upstreams to see that we left
_SERVER_WINDOW_BYTES: Final = 65536
_ENDLESS_BYTES: Final = 2**30  # a client's TLS does not wait


def run_plan(
    plan: Plan,
    seed: int,
    *,
    traced: bool = False,
    endpoints: Endpoints | None = None,
    oracle: Oracle | None = None,
) -> Ended:
    """Run the world of `plan`, with the scheduler's chance from `seed`. traced: keep its trace.

    endpoints: the server has these, too. oracle: what requests to them (`own`) may be answered.
    """

    async def main(clock: trio.testing.MockClock) -> Ended:
        ended = await World(plan, seed, clock, Trace(kept=traced), endpoints=endpoints).run()
        ended.oracle = oracle
        return ended

    with ThreadStarts() as threads:
        ended = run_seeded(main, seed)
    ended.threads_started = threads.started
    return ended


class World:
    """The server, those around it, and the watch on it from outside."""

    def __init__(
        self,
        plan: Plan,
        seed: int,
        clock: trio.testing.MockClock,
        trace: Trace,
        network: Network | None = None,
        endpoints: Endpoints | None = None,
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._trace = trace
        self._network = network or Network(plan.late_iterations, seed)
        self._upstreams = Upstreams(plan, self._network, trace)
        self._server = Server(
            plan, clock, self._upstreams, self, make_call=self._make_call, endpoints=endpoints
        )
        self._ended = Ended(plan, trace, self._upstreams.wires, self._upstreams.look_ups)
        self._by_id: dict[bytes, RequestFacts] = {}
        self._holders: set[RequestFacts] = set()  # have a token: entered, and their answer has not begun
        self._ends: list[End] = []
        self._bugs: list[BaseException] = []
        self._listening = True
        self._begin = Connections(self._enter, self._server.driver, {})
        self._turns = Turns(STEPS_PER_ITERATION)
        self._connections: trio.Nursery
        self._playing: trio.Nursery

    async def run(self) -> Ended:
        """Open the server, let the clients play, drain, close, and write down what is left."""
        ended, server, upstreams = self._ended, self._server, self._upstreams
        with trio.move_on_after(HORIZON_S) as horizon:
            async with trio.open_nursery() as outside:
                outside.start_soon(self._network.run)
                outside.start_soon(server.driver.run)
                await outside.start(upstreams.run)
                await trio.testing.wait_all_tasks_blocked()
                baseline, counts = Baseline(), Counts()
                for instrument in server.instruments:
                    trio.lowlevel.add_instrument(instrument)
                async with server.transport, trio.open_nursery() as background:
                    await background.start(server.transport.run)
                    async with trio.open_nursery() as self._connections:
                        await self._play()
                    if self._connections.cancel_scope.cancelled_caught:
                        ended.wrong.append("G9: the drain ended by its grace, and not by its last connection")
                    ended.cut_off = self._connections.cancel_scope.cancelled_caught
                    ended.ended_at = trio.current_time()
                    ended.ends = server.driver.statistics().ended
                    ended.wrong += pool_leftovers(server, upstreams)
                    counts.at_last_answer(ended, server, upstreams)
                    background.cancel_scope.cancel()
                for instrument in server.instruments:
                    trio.lowlevel.remove_instrument(instrument)
                await trio.sleep(AFTERWARDS_S)
                ended.wrong += leftovers(baseline, server, upstreams, self._ends)
                ended.wrong += not_looked_at(ended.requests, server)
                ended.wrong += bugs_told(self._bugs, upstreams)
                counts.at_end(ended, server, upstreams, self._ends)
                ended.bugs_reported = sorted(name for bug in self._bugs for name in bugs_in(bug))
                outside.cancel_scope.cancel()
        if horizon.cancelled_caught:
            ended.wrong.append("something hung until the end of the world")
        upstreams.take_arrivals(
            {call.tag: call for request in ended.requests for call in request.calls.values()}
        )
        return ended

    async def _play(self) -> None:
        async with trio.open_nursery() as self._playing:
            for client in self._plan.clients:
                self._playing.start_soon(clients.call, client, self)
            for stall in self._plan.stalls:
                self._playing.start_soon(self._stall, stall)
            if self._plan.drain_at_ms is not None:
                self._playing.start_soon(self._drain, self._plan.drain_at_ms / 1000)
        if self._listening:
            await self._drain(trio.current_time())

    async def _stall(self, stall: Stall) -> None:
        await trio.sleep(stall.at_ms / 1000)
        self._stand_still(stall.for_ms)

    def _stand_still(self, for_ms: int) -> None:
        self._trace.add("stall", "loop", for_ms)
        began_at = trio.current_time()
        self._clock.jump(for_ms / 1000)
        self._ended.stalls.append((began_at, trio.current_time()))

    async def _drain(self, at: float) -> None:
        """SIGTERM."""
        await trio.sleep_until(at)
        self._ended.signalled_at = self._ended.drained_at = trio.current_time()
        if self._plan.lame_duck_ms:
            self._trace.add("lame duck", "server")
        await self._server.shut_down(self._connections, self._drain_begins)

    def _drain_begins(self) -> None:
        self._listening = False
        self._ended.drained_at = trio.current_time()
        self._trace.add("drain", "server")

    # What clients see.

    def connect(self, client: ClientScript) -> tuple[ConnectionFacts, End] | None:
        if not self._listening:
            return None
        kind = ConnectionFacts if client.http2 is None else StreamsFacts
        facts = kind(len(self._ended.connections), client, trio.current_time())
        self._ended.connections.append(facts)
        end, server = self._network.pair(
            latency_s=self._plan.client_latency_ms / 1000,
            window_bytes=(client.window_bytes, _ENDLESS_BYTES if client.tls else _SERVER_WINDOW_BYTES),
            segment_bytes=client.segment_bytes,
        )
        self._ends.append(server)
        self._trace.add("connect", f"c{facts.number}")
        self._connections.start_soon(self._serve, facts, server)
        return facts, end

    def sent(self, request: RequestFacts) -> None:
        self._ended.requests.append(request)
        self._by_id[b"w%d" % request.script.id] = request
        self._trace.add("ask", f"w{request.script.id}", f"c{request.connection.number}")

    async def _serve(self, facts: ConnectionFacts, end: End) -> None:
        count = self._server.driver.statistics().open
        facts.open, facts.too_many = count, count >= self._plan.max_connections
        if count > self._plan.max_connections:
            facts.bad.append(f"G10: {count} connections are open, of {self._plan.max_connections}")

        def left() -> None:
            if facts.left_at is None:
                facts.left_at = trio.current_time()
                self._trace.add("left", f"c{facts.number}")

        end.watch = left
        await self._begin.hold(self._transport(facts, end, left))
        facts.closed_at = trio.current_time()
        self._trace.add("closed", f"c{facts.number}")

    def _transport(self, facts: ConnectionFacts, end: End, left: Callable[[], None]) -> Transport:
        def read(data: bytes) -> None:
            facts.read(data, trio.current_time())
            if not data:
                left()  # over TLS by close_notify, before the FIN

        written = partial(self._written, facts)
        if facts.client.tls:
            return SecureTransport(end, facts.number, read, written, self._turns)
        agreed = None if facts.client.http2 is None else "h2"
        return ClientTransport(end, facts.number, read, written, agreed=agreed)

    def _written(self, facts: ConnectionFacts, data: bytes, waits: bool) -> None:
        begun, complete = len(facts.answers), len(facts.completed)
        try:
            facts.wrote(data, trio.current_time(), waits=waits)
        except BadAnswer as error:
            facts.bad.append(f"not an answer: {error}")
        for place in range(begun, len(facts.answers)):
            request = facts.asked_for(place)
            if request is not None:
                self._check_first_byte(request)
        for answer in facts.completed[complete:]:
            self._trace.add("answer", f"c{facts.number}", f"{answer.request_id} {answer.status}")

    def _check_first_byte(self, request: RequestFacts) -> None:
        """G3: when the first byte of an answer is written, nothing of its request is left."""
        for call in request.calls.values():
            if call.ended_at is None:
                request.bad.append(f"G3: call {call.index} still ran when the answer began")
        in_use, running = self._server.transport.connections_in_use(), self._upstreams.running
        if in_use > running:
            request.bad.append(f"G7: {in_use} connections were in use by {running} calls")
        taken, holders = self._server.admission.in_flight, len(self._holders)
        if taken != holders:
            request.bad.append(f"G3: {taken} tokens were taken by {holders} requests")
        if request.first_byte is None:
            request.first_byte = taken, holders, in_use, running

    # What the application is asked.

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        ids = [value for name, value in scope["headers"] if name == b"x-request-id"]
        request = self._by_id[ids[0]]
        if request.entered_at is not None:
            request.bad.append("it was given to the application twice")
        request.entered_at = trio.current_time()
        request.was_full = len(self._holders) >= self._plan.max_in_flight
        self._holders.add(request)
        request.in_flight = len(self._holders)
        self._trace.add("enter", f"w{request.script.id}")
        CURRENT_REQUEST.set(request)

        async def send_on(message: Message) -> None:
            if message["type"] != "http.response.body":
                self._holders.discard(request)
                request.answered_at = trio.current_time()
            await send(message)

        try:
            if request.script.ask == "crash":
                request.answered_at = trio.current_time()
                raise self._upstreams.new_bug(f"w{request.script.id}")
            await self._server.app(scope, receive, send_on)
        finally:
            self._holders.discard(request)

    # What the server tells.

    interests = EVENTS

    def notify(self, event: Event) -> None:
        if isinstance(event, BugFound):
            self._bugs.append(event.exception)
        elif isinstance(event, RequestEnded) and event.late_by_s > 0:
            self._ended.late_answers += 1

    def _make_call(self, transport: PoolTransport, index: int) -> PlannedCall:
        return PlannedCall(self._upstreams, transport, index, self._trace, self._stand_still)
