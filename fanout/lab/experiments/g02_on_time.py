"""Every answer is on time.

The client says how long it waits: `timeout=300`. The last byte of the answer is written at most 300 ms
after the head of the request was read. To have time to write it, the server ends the race a little earlier:
at `timeout` minus the *time reserve*, which is at least 20 ms (`FANOUT_RESERVE_MS`) and follows the lag of
the event loop up to a bound. There is one deadline in the whole server, one scope around one nursery;
nothing below it takes a timeout.

A real clock cannot prove this. An answer that is a millisecond late says nothing about the program when
another process had the processor. So the exact part runs in virtual time: the clock stands still while there
is work to do and jumps to the next deadline when there is none. There a race with `timeout=300` and a reserve
of 20 ms ends at 280 ms, not at 279 and not at 281. Time that the request spent before the application saw it
counts. And a request whose time is over before it starts makes no call at all: the upstream would work for an
answer that no client waits for.

The real server then shows the same things where they do not depend on a millisecond: an upstream that hangs
is a 500 for the client before its timeout and a reset on the wire, and a request with less time than the
reserve never reaches the upstream.

Not covered: time in the kernel's buffers before the head was read, the network after the last write, a
client that reads slowly, and a process that gets no processor time. The server cannot prevent such a late
answer. It counts each one (`guarantees_broken.late_answers`) and logs it.
"""

from __future__ import annotations

from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import Server, Setup, call_lanes, eventually, on_wire, outcomes_of
from fanout.testing.scenario import LeftBehind, Replay, run_scenario
from fanout.testing.scripted import hangs

TIMEOUT_MS, RESERVE_MS, BEFORE_MS = 300, 20, 50
REAL_TIMEOUT_MS = 1000
MAX_RESERVES_MS = 250  # fanout.api.load_shedding: the event loop's, and that of requests in flight


async def run(setup: Setup, report: Report) -> None:
    report.extend(await setup.virtual(in_virtual_time))
    server = await setup.server()
    await _an_upstream_that_hangs(server, report)
    await _no_time_at_all(server, report)
    await server.see_leaks(report)


def in_virtual_time() -> Report:
    """Exact."""
    report = Report([f"virtual time: both calls hang, timeout={TIMEOUT_MS}, time reserve {RESERVE_MS} ms"])
    ends_ms = TIMEOUT_MS - RESERVE_MS
    _see(report, "", ends_ms)
    _see(report, f"read {BEFORE_MS} ms before the application saw it: ", ends_ms - BEFORE_MS, BEFORE_MS)
    calls = [hangs(), hangs()]
    try:
        run_scenario(f"/api/first?timeout={RESERVE_MS}", calls, reserve_ms=RESERVE_MS)
    except LeftBehind as left:
        report.see("virtual time", str(left), False)
    started = sum(call.started for call in calls)
    report.see("virtual time", f"timeout={RESERVE_MS}: {started} calls started", started == 0)
    return report


def _see(report: Report, what: str, due_ms: int, arrived_ms_ago: int = 0) -> None:
    try:
        replay = run_scenario(
            f"/api/first?timeout={TIMEOUT_MS}",
            [hangs(), hangs()],
            reserve_ms=RESERVE_MS,
            arrived_ms_ago=arrived_ms_ago,
        )
    except LeftBehind as left:
        report.see("virtual time", f"{what}{left}", False)
        return
    answered_ms = round((replay.answered_s or 0) * 1000, 6)  # to the nanosecond
    is_exact = answered_ms == due_ms and reason_of(replay) == "deadline"
    report.see("virtual time", f"{what}{replay.status} {reason_of(replay)} at {answered_ms:g} ms", is_exact)


def reason_of(replay: Replay) -> str:
    return str(replay.json.get("reason")) if replay.status != 200 else ""


async def _an_upstream_that_hangs(server: Server, report: Report) -> None:
    upstream = server.upstream
    for call in (0, 1):
        await upstream.behave(call, fault="hang_before_head")
    answer = await server.first(REAL_TIMEOUT_MS)
    report.done.append(f"the upstream hangs, timeout={REAL_TIMEOUT_MS}")

    async def have_ended() -> bool:
        return [call["end"] for call in await upstream.calls()] == ["client_closed"] * 2

    were_reset = await eventually(have_ended)
    calls = await upstream.calls()
    report.lanes += call_lanes(answer, calls)
    # No bound above: this machine may be busy. The server does not answer before the race ends.
    is_due = answer.reason == "deadline" and answer.took_ms >= REAL_TIMEOUT_MS - MAX_RESERVES_MS
    report.see(
        "client",
        f"{answer}; calls {', '.join(outcomes_of(answer))}",
        is_due and outcomes_of(answer) == ["cancelled"] * 2,
    )
    wire = ", ".join(f"call {call['slot']} {on_wire(call)}" for call in calls)
    report.see("wire", wire or "no calls", were_reset)


async def _no_time_at_all(server: Server, report: Report) -> None:
    await server.upstream.reset()
    answer = await server.first(timeout_ms=RESERVE_MS)
    report.done.append(f"timeout={RESERVE_MS}: no more than the reserve")
    report.see("client", f"timeout={RESERVE_MS}: {answer}", answer.reason == "deadline")
    calls = await server.upstream.calls()
    report.see("wire", f"timeout={RESERVE_MS}: {len(calls)} calls", not calls)


EXPERIMENT = Experiment(
    id="G2",
    title="on time",
    claim="the answer is written before its timeout",
    code="fanout/race/budget.py Budget",
    test="tests/api/test_first.py::test_the_deadline_is_a_500_at_timeout_minus_reserve",
    breakages=("call_started_after_deadline", "reserve_ignored"),
    run=run,
    article=__doc__ or "",
    is_virtual=True,
)
