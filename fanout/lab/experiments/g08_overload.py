"""Overload is shed, not queued.

A server has a limit of requests in flight. Above the limit a request is answered 503 at once, with
`Retry-After`. It does not wait in a queue. A queue looks helpful, but a request that waits uses up its own
deadline: when its turn comes, its time is over, and the work for it is wasted. A server with a queue does
most of its work for clients that have given up.

Rejecting costs a few microseconds, so the admitted requests keep their deadlines. The experiment sets the
limit to four (`FANOUT_MAX_IN_FLIGHT`). Four requests are admitted, and their upstream hangs, so they stay
in flight for as long as the experiment wants. Then twenty more come. "At once" needs no stopwatch: each of
them has its 503 while the four before it are still waiting. The upstream sees the calls of four requests,
and no more.

The limit is exact, and a permit is never lost. The four clients disconnect, and four new requests must get
in. A permit that is not given back on a disconnect is the classic mistake: the server works for weeks, and
rejects more and more requests, until an operator restarts it.

Not covered: the second limit. While an event-loop iteration takes too long (`FANOUT_MAX_LOOP_LAG_MS`), the
server sheds before it parses. Here it is set to its largest value, a second, because the machine that runs
the lab may be busy. The kernel's queue in front of `accept` does not belong to the server; the server cannot
see the clients that wait there. `benchmarks/overload.py` measures that goodput does not collapse, on a
machine that does nothing else.
"""

from __future__ import annotations

from collections import Counter

import trio

from fanout.lab.client import Answer, Client
from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import CannotRun, Server, Setup, eventually
from fanout.lab.timeline import Lane

LIMIT, MORE = 4, 20
LONG_MS = 30_000
SHORT_MS = 2000  # of those that must be rejected: if they are admitted, they end


async def run(setup: Setup, report: Report) -> None:
    server = await setup.server(max_in_flight=LIMIT)
    await _above_the_limit(server, report)
    await _permits_come_back(server, report)
    await server.see_leaks(report)


async def _above_the_limit(server: Server, report: Report) -> None:
    for call in (0, 1):
        await server.upstream.behave(call, fault="hang_before_head")
    admitted = [await Client.to(server.url) for _ in range(LIMIT)]
    began_at = trio.current_time()
    for client in admitted:
        await client.send(f"/api/first?timeout={LONG_MS}")

    async def are_in_flight() -> bool:
        return len(await server.upstream.calls()) == 2 * LIMIT

    if not await eventually(are_in_flight):
        raise CannotRun(f"{LIMIT} requests did not get to the upstream: {await server.upstream.calls()}")
    report.done.append(f"limit {LIMIT}: {LIMIT} requests whose calls hang, then {MORE} more")
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await server.first(SHORT_MS))

    at_ms = (trio.current_time() - began_at) * 1000
    async with trio.open_nursery() as nursery:
        for _ in range(MORE):
            nursery.start_soon(ask)
    to_ms = (trio.current_time() - began_at) * 1000
    calls = await server.upstream.calls()
    waiting = sum(call["end"] == "open" for call in calls) // 2
    for client in admitted:
        client.disconnect()
    left_ms = (trio.current_time() - began_at) * 1000

    counts = Counter(f"{answer.status} {answer.reason}".strip() for answer in answers)
    shed = [answer for answer in answers if answer.reason == "overloaded" and "retry-after" in answer.fields]
    slowest = max(answer.took_ms for answer in answers)
    text = ", ".join(f"{count} x {what}" for what, count in counts.items())
    report.see("client", f"{text}, the slowest after {slowest:.0f} ms", len(shed) == MORE)
    report.see(
        "wire",
        f"{len(calls)} calls were made, those of {waiting} requests still waiting",
        len(calls) == 2 * LIMIT and waiting == LIMIT,
    )
    report.lanes += [
        Lane(f"request {n + 1}", 0, left_ms, "cancelled", "the client disconnected") for n in range(LIMIT)
    ]
    report.lanes.append(Lane(f"{MORE} more", at_ms, to_ms, "done", text))


async def _permits_come_back(server: Server, report: Report) -> None:
    async def are_back() -> bool:
        return await server.in_flight() == 0

    await eventually(are_back)
    await server.upstream.reset()
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await server.first(LONG_MS))

    async with trio.open_nursery() as nursery:
        for _ in range(LIMIT):
            nursery.start_soon(ask)
    report.done.append(f"the {LIMIT} clients disconnect, then {LIMIT} requests")
    succeeded = sum(answer.status == 200 for answer in answers)
    report.see("client", f"{succeeded} of {LIMIT} new requests answered 200", succeeded == LIMIT)
    in_flight = await server.in_flight()
    report.see("server", f"{in_flight} permits taken at the end", in_flight == 0)


EXPERIMENT = Experiment(
    id="G8",
    title="overload is shed, not queued",
    claim="above the limit a request is rejected at once",
    code="fanout/race/admission.py Admission.try_take",
    test="tests/api/test_edge.py::test_over_the_limit_is_a_503_at_once",
    breakages=("limit_off_by_one", "permit_lost_on_disconnect"),
    run=run,
    article=__doc__ or "",
)
