"""Facts made by hand: what the judge and the oracle say of one moment, to the microsecond."""

from __future__ import annotations

import json
from math import floor
from typing import Any

from fanout.testing.world.answers import Answer
from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import Attempt, CallFacts, ConnectionFacts, RequestFacts, WireFacts
from fanout.testing.world.plan import CallScript, ClientScript, Dialling, Plan, RequestScript
from fanout.testing.world.trace import Trace
from tests.testing.world.plans import race

NOWHERE = Plan(())
SLOW = CallScript(delay_ms=100)


def ended_run(*connections: ConnectionFacts, plan: Plan = NOWHERE, **facts: Any) -> Ended:
    """A run with these connections and all that was asked over them."""
    requests = [request for connection in connections for request in connection.requests]
    wires = {
        id(attempt.wire): attempt.wire
        for request in requests
        for call in request.calls.values()
        for attempt in call.attempts
        if attempt.wire is not None
    }
    ended = Ended(plan, Trace(kept=False), list(wires.values()), facts.pop("look_ups", []))
    ended.requests, ended.connections = requests, list(connections)
    for name, value in facts.items():
        setattr(ended, name, value)
    for request in requests:
        _send_time_left(request, plan)
    return ended


def _send_time_left(request: RequestFacts, plan: Plan) -> None:
    """Each request to an upstream says how much time is left, unless it says something else."""
    for attempt in [attempt for call in request.calls.values() for attempt in call.attempts]:
        if attempt.time_left_ms is None and attempt.sent_at is not None and request.entered_at is not None:
            reserve_ms = plan.reserve_ms + request.more_reserve_ms
            left_ms = request.script.timeout_ms - reserve_ms - (attempt.sent_at - request.entered_at) * 1000
            attempt.time_left_ms = floor(left_ms + 0.001)


def connection(number: int = 0, *, window_bytes: int = 65536, **facts: Any) -> ConnectionFacts:
    return ConnectionFacts(number, ClientScript((), window_bytes=window_bytes), 0.0, **facts)


def asked(
    on: ConnectionFacts,
    script: RequestScript | None = None,
    *,
    sent_at: float = 0.0,
    read_at: float | None = 0.0,
    entered_at: float | None = 0.0,
    **facts: Any,
) -> RequestFacts:
    """A request on this connection, read as a whole at `read_at`."""
    script = script or race(len(on.requests) + 1, SLOW, SLOW)
    before = on.requests[-1].head_end if on.requests else 0
    request = RequestFacts(script, on, sent_at, before + len(script.data), entered_at=entered_at, **facts)
    on.requests.append(request)
    if read_at is not None:
        on.read(bytes(len(script.data)), read_at)
    return request


def answered(
    on: ConnectionFacts,
    status: int,
    first_at: float,
    *,
    last_at: float | None = -1.0,
    payload: bytes | None = None,
    **said: Any,
) -> Answer:
    """The next answer on this connection, to its request; `reason` makes it a problem.

    last_at: when it was complete; at once, if it is not given. payload: its body, else what is `said`.
    """
    place = len(on.reader.answers)
    request_id = said.pop(
        "request_id", f"w{on.requests[place].script.id}" if place < len(on.requests) else ""
    )
    fields = {"x-request-id": request_id, **said.pop("fields", {})}
    if said:
        is_problem = "reason" in said
        fields["content-type"] = "application/problem+json" if is_problem else "application/json"
    body = json.dumps(said).encode() if payload is None else payload
    answer = Answer(status, fields, first_at, body, first_at if last_at == -1.0 else last_at)
    on.reader.answers.append(answer)
    return answer


def wire(how: Dialling = "ok", connected_at: float = 0.0) -> WireFacts:
    return WireFacts(0, how, connected_at)


def called(
    request: RequestFacts | None = None,
    script: CallScript | None = None,
    *attempts: Attempt,
    started_at: float = 0.0,
    delay_ms: int | None = None,
    **facts: Any,
) -> CallFacts:
    """A call. Without `attempts`, one over a new connection, which the upstream has read at once."""
    request = request or asked(connection())
    script = script or SLOW
    delay_ms = script.delay_ms if delay_ms is None else delay_ms
    call = CallFacts(request, len(request.calls), script, started_at, delay_ms, **facts)
    request.calls[call.index] = call
    if not attempts:
        attempts = (Attempt(wire=wire(connected_at=started_at), sent_at=started_at),)
        call.arrivals.append(started_at)
    call.attempts.extend(attempts)
    for attempt in attempts:
        if attempt.wire is not None:
            attempt.wire.calls.append(call)
    return call
