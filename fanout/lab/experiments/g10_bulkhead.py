"""One connection cannot hurt another.

Nothing that a client, an upstream or the network does on one connection can stop the server or delay
another connection. A ship has bulkheads for the same reason: one hole floods one compartment.

In an event loop this is not free. All connections share one thread, so an exception that leaves the task of a
connection can end the loop, and a step that takes long delays every connection. The server has one guard
around everything that a connection does, its clean-up included, and the work per event-loop iteration is
bounded. And waiting has to be bounded, too. A client that sends its request byte by byte, or never reads its
answer, holds a descriptor and some memory. A *slow writer* has 10 s for a head. A *slow reader* has 10 s for
each answer, and while it does not read, the server reads no further request from it, so it cannot make the
server keep more than one answer.

The experiment puts a hundred such connections next to a client that behaves: bytes that are not HTTP, heads
that never end, clients that ask for a lot and read nothing, and clients that send a reset in the middle of a
request. The client that behaves gets all of its answers. When the others are gone, so are their descriptors.

Ten seconds is long for an experiment, so the bounds are shown in virtual time, where a delay can also be seen
exactly. The well-behaved client sends requests for ten seconds, next to the others. Each of its answers takes
what its upstream takes, 50 ms, and not a millisecond more.

Not covered: processor time, which all connections share. One client can hold every connection that the server
allows, so a limit per address is a proxy's task. A process at its memory limit can end.
"""

from __future__ import annotations

from typing import Any

import trio

from fanout.lab import kernel
from fanout.lab.client import Client
from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import Server, Setup, eventually
from fanout.lab.timeline import Lane
from fanout.testing.world.answers import AnswerReader
from fanout.testing.world.plan import CallScript, ClientScript, Leave, Plan, RequestScript
from fanout.testing.world.world import run_plan

OF_A_KIND = 25
PIPELINED = 200
REQUESTS = 20
TIMEOUT_MS = 10_000
DELAY_MS = 20
GARBAGE = b"\x16\x03\x01 hello\r\n\r\n"
HALF_A_HEAD = b"GET /api/first HTTP/1.1\r\nHo"
LONG_ANSWER = b"GET /openapi.json HTTP/1.1\r\nHost: lab\r\n\r\n"

# In virtual time:
FAST_MS, SLOW_MS, EVERY_MS = 50, 80, 1000
BOUND_MS = 10_000  # fanout.server.limits.Limits.head_timeout_s and write_timeout_s
NEVER_MS = 60_000


async def run(setup: Setup, report: Report) -> None:
    server = await setup.server()
    await _next_to_hostile_clients(server, report)
    await server.see_leaks(report)
    report.extend(await setup.virtual(within_bounds))


async def _next_to_hostile_clients(server: Server, report: Report) -> None:
    for call in (0, 1):
        await server.upstream.behave(call, delay_ms=DELAY_MS)
    report.done.append(
        f"{OF_A_KIND} clients each that send garbage, half a head, {PIPELINED} requests without reading, or "
        f"half a head and RST; next to them a client with {REQUESTS} requests"
    )
    before, held = (await server.statistics())["connections"], _held(server)
    garbage, writers, readers, resets = [
        [await Client.to(server.url) for _ in range(OF_A_KIND)] for _ in range(4)
    ]
    for client in garbage:
        await client.send_bytes(GARBAGE)
    for client in writers:
        await client.send_bytes(HALF_A_HEAD)
    for client in readers:
        await client.send_bytes(LONG_ANSWER * PIPELINED)
    for client in resets:
        await client.send_bytes(HALF_A_HEAD)
        client.disconnect("rst")
    answers = []
    async with await Client.to(server.url) as normal:
        for _ in range(REQUESTS):
            await normal.send(f"/api/first?timeout={TIMEOUT_MS}")
            answers.append(await normal.receive())
    while_there = (await server.statistics())["connections"]
    held_then = _held(server)
    rejected = [_statuses(await client.receive_end()) for client in garbage]
    for client in (*garbage, *writers, *readers):
        client.disconnect()

    async def are_closed() -> bool:
        await trio.lowlevel.checkpoint()
        return _held(server) <= held

    were_closed = await eventually(are_closed)
    succeeded = sum(answer.status == 200 for answer in answers)
    slowest = max(answer.took_ms for answer in answers)
    text = f"well-behaved: {succeeded} of {REQUESTS} answered 200, the slowest after {slowest:.0f} ms"
    report.see("client", text, succeeded == REQUESTS)
    count = rejected.count([400])
    report.see("client", f"garbage: {count} of {OF_A_KIND} got one 400 and the end", count == OF_A_KIND)
    read, sent = while_there["requests"] - before["requests"] - REQUESTS, OF_A_KIND * PIPELINED
    text = f"slow readers: {read} of {sent} requests read while they did not read"
    report.see("server", text, read < sent / 2)
    crashes = while_there["crashes"] - before["crashes"]
    report.see("server", f"{crashes} crashes", crashes == 0)
    text = f"{held_then} descriptors next to them, {_held(server)} when they are gone, {held} before"
    report.see("kernel", text, were_closed)


def _held(server: Server) -> int:
    """Its descriptors, except those to the upstream, which the pool keeps."""
    return kernel.descriptors_of(server.pid) - server.sockets()


def _statuses(said: bytes | None) -> list[int]:
    """Of all answers on a connection; with a -1 if it has not ended."""
    reader = AnswerReader()
    reader.feed(said or b"", 0)
    return [answer.status for answer in reader.answers] + ([] if said is not None else [-1])


def within_bounds() -> Report:
    """The whole server, and clients whose time passes at once."""
    seconds = BOUND_MS // EVERY_MS + 2
    report = Report(
        [f"virtual time: a slow writer and a slow reader, next to them a request every {EVERY_MS} ms"]
    )
    clients = (
        ClientScript((_request(1, split_at=0.5, pause_ms=NEVER_MS),)),
        ClientScript((_request(2, stall_ms=NEVER_MS),), window_bytes=50),
        ClientScript((_request(3, leave=Leave("rst", FAST_MS // 2)),)),
        ClientScript(tuple(_request(10 + n, gap_ms=EVERY_MS - FAST_MS if n else 0) for n in range(seconds))),
    )
    ended = run_plan(Plan(clients), seed=0)
    writer, reader, _, normal = [
        next(facts for facts in ended.connections if facts.client is client) for client in clients
    ]
    ms = round((writer.closed_at or 0) * 1000, 6)
    statuses = [answer.status for answer in writer.reader.answers]
    report.see(
        "virtual time",
        f"slow writer: {statuses} and closed at {ms:g} ms",
        (statuses, ms) == ([408], BOUND_MS),
    )
    ms = round((reader.closed_at or 0) * 1000, 6)
    report.see(
        "virtual time",
        f"slow reader: reset at {ms:g} ms, {BOUND_MS} ms after its answer",
        ms == FAST_MS + BOUND_MS,
    )
    took = [
        round(((answer.last_at or 0) - request.sent_at) * 1000, 6)
        for request, answer in zip(normal.requests, normal.reader.answers, strict=False)
    ]
    times = ", ".join(f"{ms:g} ms" for ms in sorted(set(took)))
    text = f"well-behaved: {len(took)} of {seconds} answered, each after {times}"
    report.see("virtual time", text, took == [FAST_MS] * seconds)
    for wrong in ended.wrong:
        report.see("virtual time", wrong, False)
    ends = [("slow writer", writer), ("slow reader", reader), ("well-behaved", normal)]
    report.lanes += [Lane(name, 0, (facts.closed_at or 0) * 1000, "done") for name, facts in ends]
    return report


def _request(number: int, **options: Any) -> RequestScript:
    head = b"GET /api/first?timeout=1000 HTTP/1.1\r\nhost: lab\r\n"
    calls = (CallScript(delay_ms=FAST_MS), CallScript(delay_ms=SLOW_MS))
    return RequestScript(number, head, "first", 1000, calls=calls, **options)


EXPERIMENT = Experiment(
    id="G10",
    title="bulkhead",
    claim="one connection cannot hurt another",
    code="fanout/server/guard.py Guard",
    test="tests/server/test_guard.py::test_what_stops_hypercorn_ends_one_connection",
    breakages=(),
    run=run,
    article=__doc__ or "",
    is_virtual=True,
)
