"""One world as a person reads it: a few lines a request, its calls as bars on the scale of its timeout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import click

from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import CallFacts, RequestFacts
from fanout.testing.world.judge import Violation

_COLUMNS: Final = 48
_COLOURS: Final = {"success": "green", "cancelled": "yellow"}


def summary(ended: Ended, seed: int, violations: Sequence[Violation]) -> str:
    """The simulation run in a few lines."""
    plan = ended.plan
    sent, planned = len(ended.requests), len(plan.requests)
    statuses = Counter(answer.status for c in ended.connections for answer in c.answers)
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    verdict = "every guarantee was kept" if not violations else f"guarantees broken: {len(violations)}"
    return "\n".join(
        [
            f"seed {seed}: {sent if sent == planned else f'{sent} of {planned}'} requests "
            f"over {len(ended.connections)} connections, "
            f"{ended.ended_at:.3f} s",
            f"  answers    {answers}",
            f"  calls      {sum(len(r.calls) for r in ended.requests)} "
            f"over {len(ended.wires)} upstream connections",
            f"  limits     {plan.max_in_flight} in flight, {plan.max_connections} connections, "
            f"reserve {plan.reserve_ms} ms, "
            f"latency {plan.client_latency_ms} and {plan.upstream_latency_ms} ms",
            f"  shutdown   at {ended.drained_at:.3f} s"
            + (f", before the other {planned - sent} were sent" if sent < planned else ""),
            f"  trace      {ended.trace.digest()}",
            "  verdict    " + click.style(verdict, fg="red" if violations else "green", bold=True),
        ]
    )


def told(request: RequestFacts, violations: Sequence[Violation]) -> str:
    """One request: what was asked, what its calls met, what it was answered, what was broken."""
    return "\n".join(_lines(request, violations))


def _lines(request: RequestFacts, violations: Sequence[Violation]) -> Iterator[str]:
    script, connection = request.script, request.connection
    name = f"w{script.id}"
    scale_s = max(script.timeout_ms / 1000, 0.001)
    asked = click.style(f"{request.sent_at:10.3f} s  {name:<6}", bold=True)
    line = script.head.split(b"\r\n")[0][:60].decode("ascii", "backslashreplace")
    yield f"{asked}{line}   on c{connection.number}{_manners(request)}"
    for index in sorted(request.calls):
        call = request.calls[index]
        yield f"{'':14}call {index} {_bar(call, request.sent_at, scale_s)} {_ending(call)}"
    yield f"{'':14}{_answered(request)}"
    for violation in violations:
        if violation.of.partition(".")[0] == name:
            yield f"{'':14}" + click.style(f"broken: {violation}", fg="red")


def _manners(request: RequestFacts) -> str:
    script = request.script
    unusual = {
        "pipelined": script.pipelined,
        f"sent in two parts, {script.pause_ms} ms apart": script.split_at > 0,
        f"does not read for {script.stall_ms} ms": script.stall_ms > 0,
    }
    if script.leave is not None:
        unusual[f"leaves by {script.leave.how} after {script.leave.after_ms} ms"] = True
    said = "; ".join(what for what, is_so in unusual.items() if is_so)
    return f"   ({said})" if said else ""


def _bar(call: CallFacts, from_s: float, scale_s: float) -> str:
    ended_at = call.started_at if call.ended_at is None else call.ended_at
    begin, end = (_column((moment - from_s) / scale_s) for moment in (call.started_at, ended_at))
    bar = "." * begin + "#" * max(1, end - begin)
    return f"|{click.style(bar.ljust(_COLUMNS, '.')[:_COLUMNS], fg=_COLOURS.get(call.outcome, 'red'))}|"


def _column(share: float) -> int:
    return min(_COLUMNS - 1, max(0, int(share * _COLUMNS)))


def _ending(call: CallFacts) -> str:
    took = "" if call.ended_at is None else f" {(call.ended_at - call.started_at) * 1000:7.1f} ms"
    dials = [dial.how for attempt in call.attempts for _, dial in attempt.dials if dial.how != "ok"]
    met = [call.script.fault or f"answer after {call.script.delay_ms} ms", *dials]
    return f"{call.outcome:<11}{took}   ({', '.join(met)})"


def _answered(request: RequestFacts) -> str:
    answer = request.connection.answer_to(request)
    if answer is None:
        left_at = request.left_at
        return "no answer" + ("" if left_at is None else f": the client left at {left_at:.3f} s")
    took_ms = (answer.first_at - request.sent_at) * 1000
    of = f" of {request.script.timeout_ms} ms" if request.script.timeout_ms else ""
    whole = "" if answer.last_at is not None else ", not to its end"
    said = answer.reason or answer.body[:60].decode("utf-8", "replace")
    return f"{answer.status} after {took_ms:.1f}{of or ' ms'}{whole}   {said}"
