"""The upstreams of a world: dialling as the plan says, and the simulator behind every connection.

The simulator is the one that `fanout upstream` runs, with its table of faults; what each fault must be taken
for is said there, far from the code that takes it. Each call asks for its own fault and bears a tag of its
own, which a right answer repeats: an answer that reaches another request is seen.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from contextvars import ContextVar, copy_context
from functools import partial
from math import ceil, inf, nextafter

import trio

from fanout.config import DEFAULT_DEADLINE_HEADER
from fanout.race.outcome import Cancelled, Failure, Success
from fanout.race.timings import CallTimings
from fanout.testing.world.adapters import EndStream, EndWire
from fanout.testing.world.facts import Attempt, CallFacts, RequestFacts, WireFacts
from fanout.testing.world.network import Network
from fanout.testing.world.oracle import TOO_LATE
from fanout.testing.world.plan import DialScript, Plan
from fanout.testing.world.trace import Trace
from fanout.tools.simulator import Simulator, SimulatorSettings
from fanout.upstream.call import UpstreamCall
from fanout.upstream.transport import PoolTransport
from fanout.upstream.wire import Address, Wire

HOST = "upstream.test"
URL = f"http://{HOST}/api/work"
CURRENT_REQUEST: ContextVar[RequestFacts] = ContextVar("the request that this task works for")
_CURRENT_CALL: ContextVar[CallFacts] = ContextVar("the call that this task works for")
_PLAIN = DialScript()
SWALLOWED = DialScript("hang")  # instead of the call's script: the address is silent
_FIRST_ADDRESS = 100
_SERVER_WINDOW_BYTES = 65536
_DEADLINE = re.compile(rb"(?i)\r\n" + DEFAULT_DEADLINE_HEADER.encode("ascii") + rb": ([0-9]+)\r\n")


class ScriptedBug(Exception):
    """A bug that the plan has put into a call."""


class Upstreams:
    """`dial` and `look_up` are for the transport; `running` are the calls that have not ended."""

    def __init__(self, plan: Plan, network: Network, trace: Trace) -> None:
        self.crashes: list[BaseException] = []
        self.bugs: list[ScriptedBug] = []  # those that were raised
        self.running = 0
        self._plan = plan
        self._network = network
        self._trace = trace
        self._simulator = Simulator(SimulatorSettings(faults={}), on_crash=self.crashes.append)
        self._wires: list[EndWire] = []  # all that were ever opened, by number
        self.wires: list[WireFacts] = []  # theirs
        self.look_ups: list[float] = []  # when
        self._outside = copy_context()  # for tasks of upstreams, which belong to no request
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    async def look_up(self, host: str, port: int) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        self.look_ups.append(trio.current_time())
        hosts = [f"192.0.2.{_FIRST_ADDRESS + n}" for n in range(self._plan.addresses)]
        return [(socket.AF_INET, (host, port)) for host in hosts]

    async def dial(self, address: Address) -> Wire:
        """Raises `OSError`."""
        call = _CURRENT_CALL.get()
        if not call.attempts or call.attempts[-1].sent_at is not None:
            call.attempts.append(Attempt())
        attempt = call.attempts[-1]
        script = self._next_script(call, address)
        attempt.dials.append((trio.current_time(), script))
        self._trace.add("dial", call.tag, script.how)
        if script.how == "hang":
            await trio.sleep_forever()
        await trio.sleep(script.after_ms / 1000)
        await self._network.late()
        if script.how == "refuse":
            raise ConnectionRefusedError("scripted")
        if script.how == "crash":
            raise self.new_bug(call.tag)
        wire = self._connect(attempt, script)
        assert attempt.wire is not None
        attempt.wire.opened_by = call
        return wire

    def new_bug(self, of: str) -> ScriptedBug:
        """A bug to raise. The server has to report it."""
        self.bugs.append(ScriptedBug(of))
        return self.bugs[-1]

    def _next_script(self, call: CallFacts, address: Address) -> DialScript:
        if int(address[1][0].rpartition(".")[2]) < _FIRST_ADDRESS + self._plan.silent_addresses:
            return SWALLOWED
        met = sum(script is not SWALLOWED for attempt in call.attempts for _, script in attempt.dials)
        return call.script.dials[met] if met < len(call.script.dials) else _PLAIN

    def ended_wires(self, before: float) -> int:
        """How many connections fanout holds open although they had ended before that moment."""
        ends = [wire.end for wire in self._wires if wire.end.closed_at is None]
        return sum((end.ended_at or before) < before or (end.broken_at or before) < before for end in ends)

    def open_wires(self) -> int:
        """How many connections fanout holds open."""
        return sum(wire.end.closed_at is None for wire in self._wires)

    def take_arrivals(self, calls: dict[str, CallFacts]) -> None:
        """Write down what the upstream saw of `calls`, by tag. To be called once, at the end."""
        for record in self._simulator.calls():
            call = calls[record.tag or ""]
            call.arrivals.append(record.clock_start)
            call.answered = record.end == "answered"

    def _connect(self, attempt: Attempt, script: DialScript) -> EndWire:
        plan = self._plan
        client, server = self._network.pair(
            latency_s=plan.upstream_latency_ms / 1000,
            window_bytes=(plan.upstream_window_bytes, _SERVER_WINDOW_BYTES),
            segment_bytes=plan.upstream_segment_bytes,
        )
        attempt.wire = facts = WireFacts(len(self._wires), script.how, trio.current_time())
        wire = EndWire(client, partial(self._sending, facts))
        self._wires.append(wire)
        self.wires.append(facts)
        match script.how:
            case "accept_rst":
                server.reset()
            case "accept_fin":
                server.close()
            case "ok":
                self._outside.run(self._nursery.start_soon, self._serve, EndStream(server))
        return wire

    async def _serve(self, stream: EndStream) -> None:
        await self._simulator.serve_stream(stream, connection_faults=False)

    def _sending(self, facts: WireFacts, data: bytes) -> None:
        call = _CURRENT_CALL.get()
        if facts.opened_by is not call:
            call.attempts.append(Attempt(reused=True))
        end = self._wires[facts.number].end
        if end.unread:
            call.bad.append("it was sent over a connection with unread bytes")
        attempt = call.attempts[-1]
        attempt.sent_at, attempt.wire = trio.current_time(), facts
        if said := _DEADLINE.search(data):
            attempt.time_left_ms = int(said[1])
        attempt.heard_bytes = -end.received
        end.slow_down(self._way_s(call))
        facts.calls.append(call)
        self._trace.add("send", call.tag, facts.number)

    def _way_s(self, call: CallFacts) -> float:
        """How long its request must be on its way, so that the answer comes when it is meant to."""
        if not call.script.follows_reserve:
            return 0.0
        plan, script, request = self._plan, call.request.script, call.request
        assert request.entered_at is not None
        way_s = plan.upstream_latency_ms / 1000
        kept_back_ms = plan.reserve_ms + request.more_reserve_ms
        beyond_ms = (
            call.script.delay_ms + 2 * plan.upstream_latency_ms - (script.timeout_ms - plan.reserve_ms)
        )
        answered_at = request.entered_at + (script.timeout_ms - kept_back_ms) / 1000 + beyond_ms / 1000
        # To the last bit: in the iteration in which the race ends, in the one just before, or just after.
        answered_at = nextafter(answered_at, (0.0, inf, *[answered_at] * 4)[script.id % 6])
        heard_at = answered_at - way_s - call.delay_ms / 1000
        for at in (heard_at, nextafter(heard_at, inf), nextafter(heard_at, 0.0)):
            if at + call.delay_ms / 1000 + way_s == answered_at:
                heard_at = at
                break
        return heard_at - trio.current_time()

    def call_ended(self, call: CallFacts) -> None:
        call.ended_at = trio.current_time()
        for attempt in call.attempts:
            if attempt.wire is not None:
                end = self._wires[attempt.wire.number].end
                attempt.ended_at = end.ended_at if end.broken_at is None else end.broken_at
                attempt.closed_at = end.closed_at
                attempt.heard_bytes += end.received


class PlannedCall:
    """A `fanout.race.race.Call`: the real upstream call, to what the plan has for the current request."""

    def __init__(
        self,
        upstreams: Upstreams,
        transport: PoolTransport,
        index: int,
        trace: Trace,
        stand_still: Callable[[int], None],
    ) -> None:
        self._upstreams = upstreams
        self._transport = transport
        self._index = index
        self._trace = trace
        self._stand_still = stand_still

    async def __call__(self, timings: CallTimings) -> Success | Failure | Cancelled:
        request = CURRENT_REQUEST.get()
        script = request.script.calls[self._index]
        delay_ms = script.delay_ms
        if script.follows_reserve:
            delay_ms = max(0, delay_ms - ceil(request.more_reserve_ms))
        call = CallFacts(request, self._index, script, trio.current_time(), delay_ms)
        if self._index in request.calls:
            request.bad.append(f"call {self._index} was made twice")
        request.calls[self._index] = call
        _CURRENT_CALL.set(call)
        self._trace.add("call", call.tag)
        self._upstreams.running += 1
        try:
            ended = await UpstreamCall(self._transport, _url(call))(timings)
            match ended:
                case Success():
                    call.outcome = "success"
                case Failure(error):
                    call.outcome = error
                case Cancelled():
                    call.outcome = TOO_LATE
            return ended
        except trio.Cancelled:
            if script.cleanup_ms:
                self._stand_still(script.cleanup_ms)
            raise
        except BaseExceptionGroup as group:
            if group.split(trio.Cancelled)[1] is not None:  # a bug met the end of its race, and both came
                call.outcome = "crashed"
            raise
        except Exception:
            call.outcome = "crashed"
            raise
        finally:
            self._upstreams.running -= 1
            self._upstreams.call_ended(call)
            self._trace.add("ended", call.tag, call.outcome)


def _url(call: CallFacts) -> str:
    script = call.script
    fault = script.fault or "none"
    return f"{URL}?tag={call.tag}&delay_ms={call.delay_ms}&fault={fault}&drip_ms={script.drip_ms}"
