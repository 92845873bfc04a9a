"""All successes, in call order.

`/api/all` makes both calls, waits for both, and answers with every success. The order is that of the calls,
not that of their arrival: a client that asks twice can compare the answers. A call that failed is left out.
It takes no place in the array, because a client could not tell an empty place from an upstream's answer.

The answer needs all calls. If the deadline comes before all of them have ended, it is a 500, even if one had
succeeded long before: an incomplete array would look complete. If every call failed, it is a 500, too, and it
comes as soon as the last one has failed, not at the deadline.

Payloads are passed on byte for byte. They are checked (a JSON object with a whole number `time`), but not
parsed and written again, so nothing is rounded, sorted or lost on the way.

The experiment has four requests: the slower call first, one failed call, two failed calls, and one call that
hangs. For each call, the simulated upstream reports what it has sent, and the client compares what it has
received.

Not covered: the wait. One upstream that hangs turns the success of the other into a 500 at the deadline. The
specification requires this. A client that wants one answer uses `/api/first`.
"""

from __future__ import annotations

from fanout.lab.experiment import Experiment
from fanout.lab.report import Report
from fanout.lab.setup import Setup, call_lanes, eventually, outcomes_of

SLOW_MS, FAST_MS = 300, 50  # far from each other, on a machine that is busy
TIMEOUT_MS = 10_000
SHORT_TIMEOUT_MS = 1000


async def run(setup: Setup, report: Report) -> None:
    server = await setup.server()
    upstream = server.upstream

    await upstream.behave(0, delay_ms=SLOW_MS)
    await upstream.behave(1, delay_ms=FAST_MS)
    answer = await server.all(TIMEOUT_MS)
    report.done.append(f"call 0 answers after {SLOW_MS} ms, call 1 after {FAST_MS} ms")
    report.lanes += call_lanes(answer)
    is_ordered = answer.json == [{"time": SLOW_MS}, {"time": FAST_MS}]
    report.see("client", f"{answer}: {answer.body.decode()}", answer.status == 200 and is_ordered)

    await upstream.behave(0, fault="not_json")
    answer = await server.all(TIMEOUT_MS)
    report.done.append(f"call 0 answers with HTML, call 1 after {FAST_MS} ms")
    is_rest = answer.status == 200 and answer.json == [{"time": FAST_MS}]
    report.see("client", f"one failed: {answer}: {answer.body.decode()}", is_rest)

    await upstream.behave(1, status=503)
    answer = await server.all(TIMEOUT_MS)
    report.done.append("call 0 answers with HTML, call 1 with a 503")
    is_at_once = answer.reason == "no_success" and answer.took_ms < TIMEOUT_MS / 2
    report.see("client", f"two failed: {answer}", is_at_once)

    await upstream.behave(0, delay_ms=0)
    await upstream.behave(1, fault="hang_mid_body")
    await upstream.forget()
    answer = await server.all(SHORT_TIMEOUT_MS)
    report.done.append(
        f"call 0 answers at once, call 1 hangs in the middle of its body; timeout={SHORT_TIMEOUT_MS}"
    )
    is_cut = answer.reason == "deadline" and outcomes_of(answer) == ["ok", "cancelled"]
    report.see("client", f"one hangs: {answer}; calls {', '.join(outcomes_of(answer))}", is_cut)

    async def has_ended() -> bool:
        ends = {call["slot"]: call["end"] for call in await upstream.calls()}
        return ends == {"0": "answered", "1": "client_closed"}

    was_reset = await eventually(has_ended)
    ends = {call["slot"]: call["end"] for call in await upstream.calls()}
    report.see("wire", f"one hangs: call 0 {ends.get('0')}, call 1 {ends.get('1')}", was_reset)
    await server.see_leaks(report)


EXPERIMENT = Experiment(
    id="G5",
    title="all",
    claim="every success, in call order",
    code="fanout/race/verdict.py every_success",
    test="tests/api/test_all.py::test_every_success_in_call_order",
    breakages=("answers_in_order_of_arrival",),
    run=run,
    article=__doc__ or "",
)
