"""A winner ends its losers.

`/api/first` makes two calls at once. As soon as one has succeeded, the race is settled: the call that
succeeded cancels the scope that both calls run in, in the same event-loop iteration, and the nursery waits
until the other has ended. So the answer is written after the loser has ended.

The upstream sees it: the loser's connection closes with its answer still due. A loser that is only ignored
would keep its connection, its task and its place in the upstream's queue for as long as the upstream takes.

A failure never wins, however early it comes. When every call has failed, the error is immediate: nothing
that could still succeed is left to wait for.

The verdict is read from the record of the race, and the record is written in the moment in which a call ends.
So a success that was recorded before the deadline is the answer, even if a loser takes so long to clean up
that the deadline comes in between. The flag `cancelled_caught` of the deadline's scope says something else:
that an exception was caught. An implementation that asks it throws the success away. fanout's own clean-up
takes no time, so this part of the experiment uses a scripted call, in virtual time.

Not covered: of two successes in one event-loop iteration, either may be the first. A success in the very
iteration in which the deadline comes loses, because Trio expires deadlines before it runs tasks. A bug in a
call outranks a success (G11).
"""

from __future__ import annotations

from math import inf

from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import RECEIPT, Server, Setup, call_lanes, eventually, on_wire, outcomes_of
from fanout.race.outcome import Failure
from fanout.testing.scenario import LeftBehind, run_scenario
from fanout.testing.scripted import ScriptedCall, answers

FAST_MS, SLOW_MS = 50, 700  # far from each other, on a machine that is busy
LATER_MS = 200
LONG_MS = 10_000
DEADLINE_MS, CLEAN_UP_MS = 100, 100


async def run(setup: Setup, report: Report) -> None:
    server = await setup.server()
    await _a_winner(server, report)
    await _failures(server, report)
    await server.see_leaks(report)
    report.extend(await setup.virtual(clean_up_crosses_the_deadline))


async def _a_winner(server: Server, report: Report) -> None:
    upstream = server.upstream
    await upstream.behave(0, delay_ms=FAST_MS)
    await upstream.behave(1, delay_ms=SLOW_MS)
    answer = await server.first(LONG_MS, RECEIPT)
    report.done.append(f"call 0 answers after {FAST_MS} ms, call 1 after {SLOW_MS} ms")

    async def has_ended() -> bool:
        return [call["end"] == "open" for call in await upstream.calls()] == [False, False]

    await eventually(has_ended)
    calls = await upstream.calls()
    report.lanes += call_lanes(answer, calls)
    is_winners = answer.status == 200 and answer.json == {"time": FAST_MS}
    report.see("client", str(answer), is_winners and answer.took_ms < SLOW_MS)
    ends = outcomes_of(answer)
    what = " and ".join(f"call {call} {end}" for call, end in enumerate(ends))
    report.see("client", what or "no calls", ends == ["won", "cancelled"])
    losers = [call for call in calls if call["slot"] == "1"]
    what = ", ".join(f"call 1 {on_wire(call)}" for call in losers)
    report.see("wire", what or "no call 1", [call["client_closed_how"] for call in losers] == ["rst"])


async def _failures(server: Server, report: Report) -> None:
    upstream = server.upstream
    await upstream.behave(0, status=503)
    await upstream.behave(1, delay_ms=LATER_MS)
    answer = await server.first(LONG_MS)
    report.done.append(f"call 0 fails at once, call 1 answers after {LATER_MS} ms")
    is_winners = answer.status == 200 and answer.json == {"time": LATER_MS}
    report.see("client", f"one failed: {answer}", is_winners)
    await upstream.behave(1, status=503)
    answer = await server.first(LONG_MS)
    report.done.append(f"both calls fail at once; timeout {LONG_MS} ms")
    is_immediate = answer.reason == "no_success" and answer.took_ms < LONG_MS / 2
    report.see("client", f"both failed: {answer}", is_immediate)


def clean_up_crosses_the_deadline() -> Report:
    """In virtual time: exact, and with a call that cleans up slowly, which none of fanout's does."""
    winner = answers(FAST_MS)
    loser = ScriptedCall(inf, Failure("unreachable"), cleanup_ms=CLEAN_UP_MS)
    until_ms = FAST_MS + CLEAN_UP_MS
    done = (
        f"call 0 succeeds at {FAST_MS} ms, call 1 cleans up until {until_ms}, the deadline is {DEADLINE_MS}"
    )
    report = Report([f"virtual time: {done}"])
    try:
        replay = run_scenario(f"/api/first?timeout={DEADLINE_MS}", [winner, loser])
    except LeftBehind as left:
        report.see("virtual time", str(left), False)
        return report
    took_ms = round((replay.answered_s or 0) * 1000)
    is_delivered = replay.status == 200 and took_ms == until_ms
    text = f"the deadline comes in a clean-up: {replay.status} at {took_ms} ms"
    report.see("virtual time", text, is_delivered)
    return report


EXPERIMENT = Experiment(
    id="G4",
    title="first success",
    claim="a winner ends its losers",
    code="fanout/race/race.py Race.run",
    test="tests/api/test_first.py::test_the_first_success_is_the_answer_and_the_loser_is_cancelled",
    breakages=(
        "cancelled_swallowed",
        "early_failure_ends_race",
        "losers_not_cancelled",
        "verdict_from_cancelled_caught",
    ),
    run=run,
    article=__doc__ or "",
    is_virtual=True,
)
