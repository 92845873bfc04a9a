"""A client disconnect ends the calls.

A client that disconnects no longer wants an answer. Both of its calls are cancelled within one event-loop
iteration, and the upstream sees their sockets close. Without that, a client that gives up and tries again
would double the load of an upstream that is slow already.

The server has to notice this while it reads nothing from that client, because it waits for its upstreams. So
each connection is registered with epoll, which reports FIN and RST. A callback then cancels the scope of the
connection, and Trio runs the cancelled tasks in the same iteration. There are two ways to disconnect, and the
experiment uses both. `close()` sends FIN. A process that dies with unread bytes, or a proxy that gives up,
sends RST.

The upstream is the witness. Its calls hang, so none can end by itself: each ends with a reset of its
connection, which is the strongest signal that HTTP/1.1 has. The server counts the same from inside: two
clients that disconnected, four calls that were *cancelled*. A call that takes the cancellation for a
failure and returns would be counted as failed.

Virtual time shows exactly how long it takes: all of it happens at the very moment at which the disconnect
arrives.

Not covered: a client that disappears without a FIN or RST. Its request runs until its deadline. A client that
half-closes its connection and waits counts as disconnected: epoll reports the same FIN for both. What the
upstream does after the reset is up to the upstream.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from fanout.lab.client import Client
from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import Server, ServerFailed, Setup, eventually, on_wire
from fanout.lab.timeline import Lane
from fanout.testing.world.plan import CallScript, ClientScript, Leave, Plan, RequestScript
from fanout.testing.world.world import run_plan

TIMEOUT_MS = 30_000
DISCONNECT_MS = 120
HANGS = "hang_before_head"


async def run(setup: Setup, report: Report) -> None:
    server = await setup.server()
    before = (await server.statistics())["requests"]
    if not (await _disconnect(server, report, "fin") and await _disconnect(server, report, "rst")):
        return  # what is counted next would only be waited for

    async def counted() -> tuple[int, int]:
        now = (await server.statistics())["requests"]
        cancelled = [at["calls"].get("cancelled", 0) for at in (before, now)]
        left = [at["clients_disconnected"] for at in (before, now)]
        return left[1] - left[0], cancelled[1] - cancelled[0]

    async def are_counted() -> bool:
        return await counted() == (2, 4)

    is_right = await eventually(are_counted)
    clients, calls = await counted()
    report.see("server", f"{clients} clients disconnected, {calls} calls cancelled", is_right)
    in_flight = await server.in_flight()
    report.see("server", f"{in_flight} requests in flight", in_flight == 0)
    await server.see_leaks(report)
    report.extend(await setup.virtual(at_the_same_moment))


async def _disconnect(server: Server, report: Report, how: Literal["fin", "rst"]) -> bool:
    """Whether both calls were reset."""
    upstream = server.upstream
    await upstream.reset()
    for call in (0, 1):
        await upstream.behave(call, fault=HANGS)

    async def are_made() -> bool:
        return len(await upstream.calls()) == 2

    async def have_ended() -> bool:
        return [call["end"] for call in await upstream.calls()] == ["client_closed"] * 2

    async with await Client.to(server.url) as client:
        await client.send(f"/api/first?timeout={TIMEOUT_MS}")
        if not await eventually(are_made):
            raise ServerFailed(f"the server made {len(await upstream.calls())} of 2 calls")
        left_at = datetime.now(UTC).timestamp()  # to be compared with the witness' clock
        client.disconnect(how)
    report.done.append(f"both calls hang, the client sends {how.upper()}")
    were_reset = await eventually(have_ended)
    for record in sorted(await upstream.calls(), key=lambda call: str(call["slot"])):
        name, ms = f"{how.upper()}, call {record['slot']}", record["client_closed_ms"]
        if ms is None:
            report.see("wire", f"{name}: {on_wire(record)}", False)
            continue
        after_ms = (record["started_at"] - left_at) * 1000 + ms
        report.see("wire", f"{name}: {on_wire(record)}, {after_ms:.1f} ms after the disconnect", were_reset)
        report.lanes.append(Lane(name, 0, ms, "cancelled", "the client disconnected", was_reset=True))
    return were_reset


def at_the_same_moment() -> Report:
    """The whole server with its connections, its pool and the simulator, without a kernel."""
    report = Report([f"virtual time: the client disconnects after {DISCONNECT_MS} ms"])
    for how in ("fin", "rst"):
        head = b"GET /api/first?timeout=%d HTTP/1.1\r\nhost: lab\r\n" % TIMEOUT_MS
        calls = (CallScript(HANGS), CallScript(HANGS))
        leave = Leave(how, DISCONNECT_MS)
        request = RequestScript(0, head, "first", TIMEOUT_MS, calls=calls, leave=leave)
        ended = run_plan(Plan((ClientScript((request,)),)), seed=0)
        (facts,) = ended.requests
        ends = [(call.outcome, round((call.ended_at or 0) * 1000, 6)) for call in facts.calls.values()]
        text = ", ".join(
            f"call {call} {outcome} at {at_ms:g} ms" for call, (outcome, at_ms) in enumerate(ends)
        )
        report.see(
            "virtual time",
            f"{how.upper()} at {DISCONNECT_MS} ms: {text}",
            ends == [("cancelled", DISCONNECT_MS)] * 2,
        )
        for wrong in ended.wrong:
            report.see("virtual time", wrong, False)
    return report


EXPERIMENT = Experiment(
    id="G6",
    title="disconnect",
    claim="a client disconnect ends its calls",
    code="fanout/server/connection.py Connection.client_left",
    test="tests/server/test_hang_up.py::test_a_hang_up_reaches_the_app_within_one_scheduler_pass",
    breakages=("cancelled_swallowed", "disconnect_not_noticed", "permit_lost_on_disconnect"),
    run=run,
    article=__doc__ or "",
    is_virtual=True,
)
