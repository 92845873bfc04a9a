"""A winner ends its losers.

`/api/first` makes two calls at once. As soon as one has succeeded, the race is settled: the call that
succeeded cancels the scope that both calls run in, in the same event-loop iteration, and the nursery waits
until the other has ended. So the answer is written when the loser is gone.

The upstream sees it: the loser's connection closes with its answer still due. A loser that is only ignored
would keep its connection, its task and its place in the upstream's queue for as long as the upstream takes.

A failure never wins, however early it comes. When every call has failed, the error is immediate: nothing that
could still succeed is left to wait for.
"""

from __future__ import annotations

from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import Setup, call_lanes, eventually

FAST_MS, SLOW_MS = 50, 700
LATER_MS = 300  # far from both, on a machine that is busy


async def run(setup: Setup) -> Report:
    server = await setup.server()
    upstream = server.upstream
    report = Report()
    await upstream.behave(0, delay_ms=FAST_MS)
    await upstream.behave(1, delay_ms=SLOW_MS)
    answer = await server.first()
    report.done.append(f"call 0 answers after {FAST_MS} ms, call 1 after {SLOW_MS} ms")

    async def is_closed() -> bool:
        return [call["end"] for call in await upstream.calls() if call["slot"] == "1"] == ["client_closed"]

    was_closed = await eventually(is_closed)
    calls = await upstream.calls()
    report.lanes += call_lanes(answer, calls)
    is_first = answer.status == 200 and answer.json == {"time": FAST_MS} and answer.took_ms < LATER_MS
    report.see("client", f"{answer.status} after {answer.took_ms:.0f} ms", is_first)
    ends = {call["slot"]: call["end"] for call in calls}
    report.see("wire", f"call 1 {ends.get('1', 'was not made')}", was_closed)
    leaks = (await server.statistics())["leak_check"]
    left = {name: leaks[name] for name in ("leaked_tasks", "leaked_permits", "leaked_connections")}
    report.see(
        "leak check", ", ".join(f"{count} {name}" for name, count in left.items()), not any(left.values())
    )
    return report


EXPERIMENT = Experiment(
    id="G4",
    title="first success",
    claim="a winner ends its losers",
    code="fanout/race/race.py Race.run",
    test="tests/api/test_first.py::test_the_first_success_is_the_answer_and_the_loser_is_cancelled",
    breakages=("losers_not_cancelled", "early_failure_ends_race", "cancelled_swallowed"),
    run=run,
    article=__doc__ or "",
)
