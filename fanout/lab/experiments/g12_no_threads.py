"""No request starts a thread.

An event loop uses a thread when something blocks: looking up a name, writing to a log that is a slow pipe,
sending a trace. That works, and it hides a queue. Threads are few, so requests wait for one where no deadline
can see them; or they are many, and each takes memory and the interpreter's lock. Nor can a thread be
cancelled: a request that has started one either waits for it or leaves it behind.

So in fanout no request starts one. The service looks up the names of its upstreams, once and then every 30
s, and requests use what it has found. Log lines go into a bounded queue. One thread writes them in batches;
if the log is stuck, lines are dropped and counted, and no request waits.

The experiment gives the server an upstream with a name instead of an address, so there is something to look
up. After one request it counts the threads of the process, in `/proc`. Then two hundred requests are in
flight at once, with four hundred calls, and it counts again and again until the last call has reached the
upstream. There are no more threads than before, the name is not looked up again, and in the end the log has a
line for each request.

A thread per request or per call would show as 200 or 400 threads; a pool of threads, as its size, which is
often 32 or 40.

Not covered: a thread that computes holds the interpreter's lock, and the event loop waits for it. If traces
are on, one more thread sends them. At most eight threads look up names, if there are many or the DNS server
hangs.
"""

from __future__ import annotations

import trio

from fanout.lab.client import Client
from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import CannotRun, Server, Setup, eventually
from fanout.upstream.resolver import REFRESH_S

REQUESTS = 200
TIMEOUT_MS = 30_000


async def run(setup: Setup, report: Report) -> None:
    server = await setup.own_server(by_name=True)
    report.done.append(f"an upstream with a name; one request, then {REQUESTS} at once, whose calls hang")
    answer = await server.first(TIMEOUT_MS)
    report.see("client", f"before: {answer}", answer.status == 200)
    idle, look_ups, began_at = server.threads(), await _look_ups(server), trio.current_time()
    for call in (0, 1):
        await server.upstream.behave(call, fault="hang_before_head")
    await server.upstream.forget()
    most = 0
    clients = [await Client.to(server.url) for _ in range(REQUESTS)]
    for client in clients:
        await client.send(f"/api/first?timeout={TIMEOUT_MS}")

    async def are_in_flight() -> bool:
        nonlocal most
        most = max(most, server.threads())
        return len(await server.upstream.calls()) == 2 * REQUESTS

    were_in_flight = await eventually(are_in_flight, within_s=20)
    calls = await server.upstream.calls()
    if not were_in_flight:
        raise CannotRun(f"{REQUESTS} requests made {len(calls)} calls, not {2 * REQUESTS}")
    more_look_ups = await _look_ups(server) - look_ups
    due = 1 + (trio.current_time() - began_at) // REFRESH_S  # by the clock, on a machine that is slow
    for client in clients:
        client.disconnect()

    async def are_gone() -> bool:
        return await server.in_flight() == 0

    await eventually(are_gone)
    after = server.threads()
    report.see("wire", f"{len(calls)} calls in flight", len(calls) == 2 * REQUESTS)
    text = f"{idle} threads when idle, at most {most} with {REQUESTS} requests in flight, {after} afterwards"
    report.see("kernel", text, 0 < max(most, after) <= idle + more_look_ups)
    report.see("server", f"{more_look_ups} look-ups of the upstream's name for them", more_look_ups <= due)

    async def are_logged() -> bool:
        await trio.lowlevel.checkpoint()
        return _lines(server) == REQUESTS + 1

    was_logged = await eventually(are_logged)
    report.see("log", f"{_lines(server)} requests in the log", was_logged)
    await server.see_leaks(report)


async def _look_ups(server: Server) -> int:
    (name,) = (await server.statistics())["upstream"]["names"]
    return int(name["look_ups"])


def _lines(server: Server) -> int:
    """The number of requests in the log."""
    return sum("request_id" in event for event in server.log())


EXPERIMENT = Experiment(
    id="G12",
    title="no threads",
    claim="no request starts a thread",
    code="fanout/upstream/resolver.py Resolver",
    test="tests/observe/test_log_writer.py::test_a_stuck_sink_drops_and_counts_and_nobody_waits",
    breakages=(),
    run=run,
    article=__doc__ or "",
)
