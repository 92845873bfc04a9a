"""A world in the trace-event format, for a trace viewer (`chrome://tracing`, Perfetto).

Each client's connection and each upstream connection is a row; requests and calls are bars on them.
"""

from __future__ import annotations

from typing import Any, Final

from fanout.admin.live.trace import bar, moment, named
from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import RequestFacts

_CLIENTS: Final = 1
_UPSTREAMS: Final = 2
_SERVER: Final = 3


def chrome_trace(ended: Ended) -> dict[str, Any]:
    """Times are microseconds of virtual time."""
    events: list[dict[str, Any]] = [
        named("process", "clients", _CLIENTS),
        named("process", "upstream connections", _UPSTREAMS),
        named("process", "server", _SERVER),
    ]
    for request in ended.requests:
        events += _request(request)
    events += [
        moment(f"{h.what} {h.more}", _SERVER, 0, h.at, scope="g")
        for h in ended.trace.happenings
        if h.what in ("lame duck", "drain", "stall")
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _request(request: RequestFacts) -> list[dict[str, Any]]:
    connection, script = request.connection, request.script
    answer = connection.answer_to(request)
    ended_at = connection.closed_at if answer is None else answer.first_at
    said = "no answer" if answer is None else f"{answer.status} {answer.reason}"
    name = f"w{script.id} {script.ask} {said}"
    events = [bar(name, _CLIENTS, connection.number, request.sent_at, ended_at)]
    for call in request.calls.values():
        wire = call.attempts[-1].wire if call.attempts else None
        name = f"{call.tag} {call.outcome} ({call.script.fault or 'answers'})"
        row = -1 if wire is None else wire.number
        events.append(bar(name, _UPSTREAMS, row, call.started_at, call.ended_at))
    return events
