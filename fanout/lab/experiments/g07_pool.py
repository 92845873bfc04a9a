"""The pool stays whole.

Connections to an upstream are kept in a pool and used again. A call that is cancelled is in the middle of an
exchange: it has sent a request and has no answer, or has read half a head. Three things must then be true.
Its slot is free again. Its socket is closed: it can never be used again, because the answer that is still on
its way would be taken for the answer to the next call. And the pool's own count equals the kernel's.

Pools lose slots because clean-up is code that runs while it is being cancelled. One `await` in a `finally` is
enough: in a cancelled scope it raises at once, and the lines after it never run. After as many cancelled
calls as the pool has slots, the server is dead, and no log says why. httpx's own pool can lose a slot in this
way. fanout's pool does not contain a single `await`: taking, giving back and closing are synchronous, so they
cannot be interrupted.

The experiment cancels calls in each phase that a call can be in, far more of them than the pool has slots,
and then counts: in the pool, in the kernel's socket table, and at the upstream, which knows each
connection. A call whose answer breaks off is not made a second time: its upstream has done the work
already.

On real sockets, a test hits some moments and misses others. In virtual time the lab counts every point at
which a call can be interrupted, as it begins to wait and as it resumes, and cancels at each of them, over a
new and over a reused connection. After each one, a pool of one connection must make the next call.

Not covered: an upstream that sends a second answer, unrequested, after its connection was given to the next
call. A GET that fails on a reused connection before the first byte of its answer is made once more, so an
upstream may see it twice.
"""

from __future__ import annotations

import ssl
from functools import partial
from itertools import pairwise

import httpx
import trio
import trio.testing

from fanout.lab.client import Client
from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import RECEIPT, Server, Setup, call_lanes, eventually
from fanout.lab.timeline import Lane
from fanout.testing.points import cancel_at, repeatable
from fanout.testing.world.adapters import EndStream, EndWire
from fanout.testing.world.network import Network
from fanout.tools.simulator import Simulator, SimulatorSettings
from fanout.upstream.pool import PoolLimitExceeded
from fanout.upstream.transport import PoolTransport
from fanout.upstream.wire import Address, Wire

MAX_IN_FLIGHT = 4  # so the pool has 8 slots; G8 uses the same server
ROUNDS = 6
PHASES = {
    "before its head": "hang_before_head",
    "in its head": "hang_mid_head",
    "in its body": "hang_mid_body",
    "byte by byte": "drip",
}
DRIP_MS = 60_000
FAST_MS = 10
DISCONNECTS = 12
TIMEOUT_MS = 5000
SEGMENT_BYTES = 20  # an answer comes in several pieces
HOP_S = 0.001
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the usual one takes 20 ms to make


async def run(setup: Setup, report: Report) -> None:
    server = await setup.server(max_in_flight=MAX_IN_FLIGHT)
    is_alive = await _losers(server, report)
    if is_alive:
        await _disconnects(server, report)
    await _see_connections(server, report)
    if is_alive:
        await _broken_off(server, report)
    await server.see_leaks(report)
    report.extend(await setup.virtual(at_every_point))


async def _losers(server: Server, report: Report) -> bool:
    """Whether each request was answered. Stops at the first one that is not."""
    upstream = server.upstream
    await upstream.behave(0, delay_ms=FAST_MS)
    total = ROUNDS * len(PHASES)
    report.done.append(
        f"{total} losers, cancelled {', '.join(PHASES)}; the pool has {2 * MAX_IN_FLIGHT} slots"
    )
    answered = 0
    for phase, fault in list(PHASES.items()) * ROUNDS:
        await upstream.behave(1, fault=fault, drip_ms=DRIP_MS)
        answer = await server.first(TIMEOUT_MS, RECEIPT)
        if answer.status != 200:
            report.see("client", f"request {answered + 1} of {total}: {answer}", False)
            return False
        answered += 1
        if answered <= len(PHASES):
            _, loser = call_lanes(answer)
            report.lanes.append(Lane(phase, 0, loser.to_ms, loser.end, loser.note, was_reset=True))
    report.see("client", f"{answered} of {total} answered 200", answered == total)
    return True


async def _disconnects(server: Server, report: Report) -> None:
    """The clients disconnect soon: some calls have not begun, some connect, some have sent a request."""
    for call in (0, 1):
        await server.upstream.behave(call, fault="hang_before_head")
    for number in range(DISCONNECTS):
        async with await Client.to(server.url) as client:
            await client.send(f"/api/all?timeout={TIMEOUT_MS}")
            await trio.sleep(number / 1000)
            client.disconnect("rst" if number % 2 else "fin")

    async def have_left() -> bool:
        return await server.in_flight() == 0

    await eventually(have_left)
    report.done.append(
        f"{DISCONNECTS} clients that disconnect within {DISCONNECTS} ms, while both calls hang"
    )


async def _see_connections(server: Server, report: Report) -> None:
    async def are_the_same() -> bool:
        return bool((await server.pool())["open"] == server.sockets())

    async def have_ended() -> bool:
        return all(call["end"] != "open" for call in await server.upstream.calls())

    is_same = await eventually(are_the_same, within_s=2)
    pool, sockets = await server.pool(), server.sockets()
    report.see("pool", f"{pool['in_use']} connections in use, {pool['open']} open", pool["in_use"] == 0)
    report.see("kernel", f"{sockets} sockets to the upstream", is_same)
    accounted = pool["opened"] == pool["open"] + sum(pool["closed"].values())
    counts = f"{pool['opened']} were opened, {sum(pool['closed'].values())} closed"
    report.see("pool", f"{counts}, {pool['closed']['cancelled']} of them in a cancelled call", accounted)
    await eventually(have_ended)
    calls = await server.upstream.calls()
    reset = [call for call in calls if call["end"] == "client_closed"]
    left = [call for call in calls if call["end"] == "open"]
    report.see(
        "wire",
        f"{len(reset)} calls reset before their answer, {len(left)} left open",
        bool(reset) and not left,
    )
    by_connection = sorted(calls, key=lambda call: (call["connection"], call["nth"]))
    dirty = [
        after
        for before, after in pairwise(by_connection)
        if before["connection"] == after["connection"] and before["end"] != "answered"
    ]
    reused = sum(call["nth"] > 1 for call in calls)
    text = f"{reused} calls on a reused connection, {len(dirty)} of them after a call without its answer"
    report.see("wire", text, reused > 0 and not dirty)


async def _broken_off(server: Server, report: Report) -> None:
    """Over connections that the pool has kept."""
    upstream = server.upstream
    await upstream.reset()
    await server.all(TIMEOUT_MS)  # two idle connections
    for call in (0, 1):
        await upstream.behave(call, fault="fin_mid_body")
    await upstream.forget()
    answer = await server.first(TIMEOUT_MS)
    report.done.append("both answers break off in the middle of their bodies, on reused connections")
    calls = await upstream.calls()
    reused = [call for call in calls if call["nth"] > 1]
    text = f"broken off: {len(calls)} calls were made, {len(reused)} of them on a reused connection"
    report.see("wire", text, len(calls) == len(reused) == 2)
    report.see("client", f"broken off: {answer}", answer.reason == "no_success")


def at_every_point() -> Report:
    """A pool of one connection, and the simulator, without a kernel."""
    report = Report(["virtual time: a call is cancelled at each point at which it can be interrupted"])
    for state in ("new", "reused"):
        with repeatable(seed=0):
            clock = trio.testing.MockClock(autojump_threshold=0)
            points, lost = trio.run(_sweep, state == "reused", clock=clock)
        what = (
            f"{state} connection, {points} points: {len(lost)} with a lost slot or socket, or a wrong answer"
        )
        report.see("virtual time", what + (f" ({lost[0]})" if lost else ""), points > 5 and not lost)
    return report


async def _sweep(is_reused: bool) -> tuple[int, list[str]]:
    """How many points there were, and what was wrong after which of them."""
    n, lost = 0, []
    while True:
        n += 1
        reached, wrong = await _cancel_one(is_reused, n)
        lost += [f"point {n}: {what}" for what in wrong]
        if reached < n:  # it was not cancelled
            return reached, lost


async def _cancel_one(is_reused: bool, n: int) -> tuple[int, list[str]]:
    network, simulator = Network(), Simulator(SimulatorSettings(faults={}))
    wires: list[EndWire] = []
    wrong: list[str] = []
    async with trio.open_nursery() as nursery:

        async def dial(address: Address) -> Wire:
            await trio.sleep(HOP_S)
            client, server = network.pair(
                latency_s=HOP_S, window_bytes=(65536, 65536), segment_bytes=SEGMENT_BYTES
            )
            nursery.start_soon(partial(simulator.serve_stream, EndStream(server), connection_faults=False))
            wires.append(EndWire(client, lambda data: None))
            return wires[-1]

        nursery.start_soon(network.run)
        transport = PoolTransport(max_connections=1, ssl_context=NO_TLS, dial=dial)
        if is_reused:
            await _get(transport, "before")
        reached = await cancel_at(partial(_get, transport, "swept"), n)
        for pool in transport.statistics().origins:
            open_wires = sum(wire.end.closed_at is None for wire in wires)
            if pool.in_use or pool.open != open_wires:
                wrong.append(f"{pool.in_use} in use; {pool.open} open by the pool, {open_wires} in fact")
        try:
            tag = await _get(transport, "next")
        except (httpx.HTTPError, PoolLimitExceeded) as error:
            wrong.append(repr(error))
        else:
            if tag != "next":
                wrong.append(f"the next call got the answer to {tag!r}")
        nursery.cancel_scope.cancel()
    return reached, wrong


async def _get(transport: PoolTransport, tag: str) -> object:
    """The tag of the answer."""
    url = f"http://192.0.2.1/api/work?delay_ms=5&tag={tag}"
    response = await transport.handle_async_request(httpx.Request("GET", url))
    return response.json().get("tag")


EXPERIMENT = Experiment(
    id="G7",
    title="the pool stays whole",
    claim="cancelled calls cost the pool nothing",
    code="fanout/upstream/pool.py OriginPool.give_back",
    test="tests/upstream/test_simulated_upstream.py::test_many_cancelled_calls_leave_nothing",
    breakages=(
        "await_in_pool_clean_up",
        "dirty_connection_reused",
        "retry_after_first_byte",
        "socket_left_open",
    ),
    run=run,
    article=__doc__ or "",
    is_virtual=True,
)
