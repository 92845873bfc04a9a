"""Nothing outlives its request.

When the first byte of an answer is written, the request has no task, no upstream connection in use and no
admission permit left. The client can rely on it: once it has the answer, nothing on the server works for it
any more. So the load of a server follows from the requests in flight, and from nothing that earlier requests
have left behind.

The order matters, and the kernel shows it. Fifty requests are in flight at once, each with two calls: a
hundred sockets are open to the upstream. Each request has one call that answers and one that hangs. Whenever
a client has received the n-th answer, the loser of that request has already been reset. So at that moment the
socket table of the server's process has at most 100 - n sockets, however slow the machine is: the experiment
needs no waiting and no sleep. The sockets that are left at the end are the winners' connections, idle in the
pool. The pool must count the same number.

The nursery and its scope do this, not a list of things to clean up. The nursery does not end before its tasks
have ended, and the answer is written after it.

There is a price, and virtual time shows it exactly. fanout's own clean-up is synchronous and takes no time,
but the nursery would wait for a call whose clean-up waits: **such a call delays the answer, it does not
outlive it.** A winner at 50 ms with a loser that cleans up for 100 ms is an answer at 150 ms. An asyncio
program often chooses differently: it answers at 50 ms and leaves the loser behind. No program can do both.

Not covered: code that starts a task in a nursery outside the request. Trio cannot prevent it; the leak check,
which runs in every server, finds such a task and logs where it runs. Threads are not counted (G12).
"""

from __future__ import annotations

from math import inf

import trio

from fanout.lab.client import Answer, Client
from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import RECEIPT, CannotRun, Server, Setup, call_lanes
from fanout.race.outcome import Failure
from fanout.testing.scenario import LeftBehind, run_scenario
from fanout.testing.scripted import ScriptedCall, answers, hangs

REQUESTS = 50
DELAYS_MS = (600, 2400, 9600)  # longer than it takes to send them all; the next one if it was not
TIMEOUT_MS = 20_000
FAST_MS, CLEAN_UP_MS = 50, 100


async def run(setup: Setup, report: Report) -> None:
    server = await setup.server()
    for delay_ms in DELAYS_MS:
        if await _many_at_once(server, report, delay_ms):
            break
    else:
        raise CannotRun(f"this machine does not send {REQUESTS} requests in {DELAYS_MS[-1]} ms")
    await server.see_leaks(report)
    report.extend(await setup.virtual(at_the_first_byte))


async def _many_at_once(server: Server, report: Report, delay_ms: int) -> bool:
    """Whether all were in flight before the first answer came. If not, the experiment has shown nothing."""
    await server.upstream.behave(0, delay_ms=delay_ms)
    await server.upstream.behave(1, fault="hang_before_head")
    answered: list[Answer] = []
    too_many: list[str] = []
    in_flight = 0

    async def ask() -> None:
        async with await Client.to(server.url) as client:
            await client.send(f"/api/first?timeout={TIMEOUT_MS}", RECEIPT)
            answered.append(await client.receive())
            most, found = 2 * REQUESTS - len(answered), server.sockets()
            if found > most:
                too_many.append(f"{found} sockets after {len(answered)} answers, not at most {most}")

    async with trio.open_nursery() as nursery:
        for _ in range(REQUESTS):
            nursery.start_soon(ask)
        while in_flight < 2 * REQUESTS and not answered:  # noqa: ASYNC110 - the kernel sets no event
            await trio.sleep(0.01)
            in_flight = server.sockets()
    if in_flight < 2 * REQUESTS:
        return False
    report.done.append(f"{REQUESTS} requests at once: call 0 answers after {delay_ms} ms, call 1 hangs")
    last = server.sockets()
    succeeded = sum(answer.status == 200 for answer in answered)
    report.lanes += call_lanes(answered[0])
    report.see("client", f"{succeeded} of {REQUESTS} answered 200", succeeded == REQUESTS)
    gone = too_many[0] if too_many else "after the n-th answer at most 100 - n of them"
    report.see(
        "kernel",
        f"{in_flight} sockets to the upstream in flight; {gone}; after the last {last}",
        not too_many,
    )
    pool = await server.pool()
    is_same = last == pool["idle"] and pool["in_use"] == 0
    report.see("pool", f"{pool['in_use']} connections in use, {pool['idle']} idle", is_same)
    return True


def at_the_first_byte() -> Report:
    """In virtual time: `run_scenario` looks for leaks when the first byte is sent, and at the end."""
    report = Report(
        [f"virtual time: call 0 answers at {FAST_MS} ms, call 1 hangs, then cleans up for {CLEAN_UP_MS} ms"]
    )
    slow = ScriptedCall(inf, Failure("unreachable"), cleanup_ms=CLEAN_UP_MS)
    for loser, due_ms in ((hangs(), FAST_MS), (slow, FAST_MS + CLEAN_UP_MS)):
        try:
            replay = run_scenario("/api/first", [answers(FAST_MS), loser])
        except LeftBehind as left:
            report.see("virtual time", str(left), False)
            continue
        at_ms = round((replay.answered_s or 0) * 1000)
        what = f"{replay.status} at {at_ms} ms, and nothing left at the first byte"
        report.see("virtual time", what, replay.status == 200 and at_ms == due_ms)
    return report


EXPERIMENT = Experiment(
    id="G3",
    title="nothing outlives",
    claim="when an answer begins, nothing of its request is left",
    code="fanout/api/handlers.py run_race",
    test="tests/observe/test_leak_check.py::test_the_real_application_leaves_nothing",
    breakages=("permit_released_late",),
    run=run,
    article=__doc__ or "",
    is_virtual=True,
)
