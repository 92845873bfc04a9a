"""A world in the trace-event format, for a trace viewer (`chrome://tracing`, Perfetto).

Each caller's connection and each upstream connection is a row; requests and calls are bars on them.
"""

from __future__ import annotations

from typing import Any, Final

from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import RequestFacts

_CALLERS: Final = 1
_UPSTREAMS: Final = 2
_SERVER: Final = 3


def chrome_trace(ended: Ended) -> dict[str, Any]:
    """Times are microseconds of virtual time."""
    events: list[dict[str, Any]] = [
        _named(_CALLERS, "callers"),
        _named(_UPSTREAMS, "upstream connections"),
        _named(_SERVER, "server"),
    ]
    for request in ended.requests:
        events += _request(request)
    events += [
        {"name": f"{h.what} {h.more}", "ph": "i", "s": "g", "pid": _SERVER, "tid": 0, "ts": _us(h.at)}
        for h in ended.trace.happenings
        if h.what in ("drain", "stall")
    ]
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def _request(request: RequestFacts) -> list[dict[str, Any]]:
    connection, script = request.connection, request.script
    answer = connection.answer_to(request)
    ended_at = connection.closed_at if answer is None else answer.first_at
    said = "no answer" if answer is None else f"{answer.status} {answer.reason}"
    name = f"w{script.id} {script.ask} {said}"
    events = [_bar(name, _CALLERS, connection.number, request.sent_at, ended_at)]
    for call in request.calls.values():
        wire = call.attempts[-1].wire if call.attempts else None
        name = f"{call.tag} {call.outcome} ({call.script.fault or 'answers'})"
        row = -1 if wire is None else wire.number
        events.append(_bar(name, _UPSTREAMS, row, call.started_at, call.ended_at))
    return events


def _bar(name: str, pid: int, tid: int, from_s: float, to_s: float | None) -> dict[str, Any]:
    took_s = 0.0 if to_s is None else max(0.0, to_s - from_s)
    return {"name": name, "ph": "X", "pid": pid, "tid": tid, "ts": _us(from_s), "dur": _us(took_s)}


def _named(pid: int, name: str) -> dict[str, Any]:
    return {"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": name}}


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)
