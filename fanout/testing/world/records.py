"""A simulation run as a trace for `fanout check-trace`: what was seen, without the judge's opinion of it.

Rule: the facts of a run and its plan are written down, and nothing is left out because it looks right. What
      should have come of them is the business of the monitor's formulas, and of the oracle, which it is
      compared with. Neither uses the other's code, and this file uses neither's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fanout.testing.world.answers import Answer
from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import CallFacts, ConnectionFacts, RequestFacts, WireFacts
from fanout.testing.world.facts_streams import StreamsFacts
from fanout.tools.simulator.faults import FAULTS

Fields = Mapping[str, Any]
_RESERVE_PER_REQUEST_S: Final = 0.00003  # docs/guarantees.md, *Bounds*
_MAX_RESERVE_S: Final = 0.150
_FEW_CONNECTIONS: Final = 1000
_SMALL_WINDOW_BYTES: Final = 2000
_WRITE_TIMEOUT_S: Final = 10.0
_TOO_LARGE: Final = (414, 431)
_DRIVERS_ID: Final = "unread"
# A right answer, and soon after it the end of the connection, on which the next call gets none.
_ENDS_ITS_CONNECTION: Final = frozenset(
    {"late_408", "close_idle", "rst_idle", "close_at_once", "cut_after_answer"}
)
# What the call made over the connection next may read in place of its own answer.
_SENDS_MORE_THAN_ASKED: Final = frozenset({"late_408", "two_answers", "trailing_bytes", "length_too_short"})
_WITHOUT_TAG: Final = frozenset({"extra_members"})
_OUTCOMES: Final = {
    "success": "ok",
    "crashed": "internal",
    "cancelled": "cancelled",
    "too_late": "too_late",
}


def records_of(ended: Ended, seed: int) -> Iterator[Fields]:
    """The run first, then connections, requests and upstream connections, and its end last."""
    plan = ended.plan
    yield {
        "kind": "run",
        "seed": seed,
        "max_connections": plan.max_connections,
        "crowded": plan.max_connections < _FEW_CONNECTIONS,
        "signalled": ended.signalled_at,
        "lame_duck": plan.lame_duck_ms / 1000,
        "min_call": plan.min_call_ms / 1000,
        "drained": ended.drained_at,
        "stalls": [list(stall) for stall in ended.stalls],
    }
    for connection in ended.connections:
        if isinstance(connection, StreamsFacts):
            yield from _of_streams(connection, ended)
        else:
            yield from _of_connection(connection, ended)
    for wire in ended.wires:
        yield _of_wire(wire)
    yield from _of_end(ended)


def _of_connection(connection: ConnectionFacts, ended: Ended) -> Iterator[Fields]:
    answers = connection.reader.answers
    rejected = bool(
        connection.too_many and answers and (answers[0].status, answers[0].request_id) == (503, _DRIVERS_ID)
    )
    yield {
        "kind": "connection",
        "id": f"c{connection.number}",
        "open": connection.open,
        "rejected": rejected,
        "answers": len(answers),
        "requests": len(connection.requests),
    }
    free: float | None = connection.opened_at
    for place, request in enumerate(connection.requests):
        answer = answers[place] if place < len(answers) and not rejected else None
        yield _of_request(request, answer, None if rejected else free, ended)
        free = None if answer is None or answer.closes else answer.last_at


def _of_streams(connection: StreamsFacts, ended: Ended) -> Iterator[Fields]:
    """As `_of_connection`, over HTTP/2: each request has a connection to itself, and what differs there."""
    yield {
        "kind": "connection",
        "id": f"c{connection.number}",
        "open": connection.open,
        "rejected": False,
        "answers": len(connection.answers),
        "requests": len(connection.requests),
    }
    for request in connection.requests:
        answer = connection.answer_to(request)
        stream = connection.streams.streams.get(request.stream)
        reset_at = None if stream is None else stream.reset_at
        arrived = connection.arrived_at(request)
        is_held = request.connection.client.window_bytes < _SMALL_WINDOW_BYTES or connection.streams.was_held
        is_reset = answer is not None and answer.reset is not None
        fields = dict(
            _of_request(request, None if is_reset else answer, connection.opened_at, ended),
            came=arrived,
            read=arrived,
            arrived=arrived,
            slow=is_held,
            waited=None if is_held else 0.0,
            left=request.left_at,
            closed=_given_up_at(connection, request, reset_at),
        )
        if answer is None:
            fields["began"] = request.answered_at
            fields["answer_id"] = None if request.answered_at is None else fields["id"]
        elif is_reset:
            fields |= {"began": answer.first_at, "written": answer.last_at}
            if request.script.reset is None:
                fields["refused"] = answer.first_at
            else:
                fields["status"] = answer.reset
                fields["deserves"] = [request.script.reset]
                fields["closes"] = True
        else:
            slack_s = ended.slack_s(answer.first_at, ended.ended_at)
            is_raced = request.entered_at is not None and request.script.ask != "garbage"
            fields["closes"] = not is_raced or connection.goes_with(answer, slack_s)
        yield fields


def _given_up_at(connection: StreamsFacts, request: RequestFacts, reset_at: float | None) -> float | None:
    """When the server gave up the stream. While it has to wait for room, nobody can see that it has."""
    begun_at = request.answered_at
    if reset_at is None and begun_at is not None:
        due_at = begun_at + _WRITE_TIMEOUT_S
        if connection.free_from(due_at) > due_at:
            return due_at
    return connection.closed_at if reset_at is None else reset_at


def _of_request(request: RequestFacts, answer: Answer | None, free: float | None, ended: Ended) -> Fields:
    """free: when the connection's answer before was complete; `None`: it is not owed an answer."""
    script, connection, plan = request.script, request.connection, ended.plan
    read = connection.read_at(request.head_end)
    reserve_s = plan.reserve_ms / 1000 + min(_MAX_RESERVE_S, _RESERVE_PER_REQUEST_S * request.in_flight)
    began = written = None
    if answer is not None:
        began, written = answer.first_at, answer.last_at
    elif free is not None and connection.reader.begun_at is not None:
        began = connection.reader.begun_at  # and not even its head was written
    said = answer if answer is not None and written is not None and not script.is_head else None
    fields: dict[str, Any] = {
        "kind": "request",
        "id": f"w{script.id}",
        "connection": f"c{connection.number}",
        "asks": {"garbage": "malformed"}.get(script.ask, script.ask),
        "timeout": script.timeout_ms / 1000 if script.timeout_ms else None,
        "reserve": reserve_s,
        "in_time": script.timeout_ms / 1000 - reserve_s >= plan.min_call_ms / 1000 - 1e-6,
        "sent": request.sent_at,
        "came": connection.read_at(request.head_end - len(script.data) + 1),
        "read": read,
        "free": free,
        "arrived": None if read is None or free is None else max(read, free),
        "admitted": request.entered_at,
        "by_app": request.entered_at is not None,
        "full": request.was_full,
        "together": _entered_with(began, ended) if request.entered_at is None else 0,
        "began": began,
        "written": written,
        "waited": None if connection.client.window_bytes < _SMALL_WINDOW_BYTES else 0.0,
        "slow": connection.client.window_bytes < _SMALL_WINDOW_BYTES,
        "left": request.left_at,
        "closed": connection.closed_at,
        "status": None if answer is None else answer.status,
        "answer_id": None if answer is None else answer.request_id,
        "closes": answer is not None and answer.closes,
        "refused": None,
        "reason": None if said is None else said.reason or "success",
        "bugs": sum(f"'w{script.id}" in name.replace(".", "'.") for name in ended.bugs_reported),
        "calls": [_of_call(call, said, plan.upstream_latency_ms / 1000) for call in _in_order(request)],
    }
    match script.ask:
        case "fixed":
            fields["deserves"] = [script.status, script.reason or "success"]
        case "garbage":
            fields["deserves"] = [script.status, *_TOO_LARGE]
        case _:
            fields["deserves"] = None
    if answer is None or said is not None:  # else its body is not known
        fields |= {"errors": None, "payloads": None}
    if said is not None and said.reason == "no_success":
        fields["errors"] = [call["error"] for call in said.json["calls"]]
    elif said is not None and said.status == 200 and script.ask in ("first", "all"):
        fields["payloads"] = _payloads(said)
    names = ("permits_taken", "unanswered", "connections_in_use", "calls_running")
    return fields | dict(zip(names, request.first_byte or (None,) * 4, strict=True))


def _in_order(request: RequestFacts) -> list[CallFacts]:
    return [request.calls[index] for index in sorted(request.calls)]


def _entered_with(moment: float | None, ended: Ended) -> int:
    """How many requests the application was given in that instant."""
    entered = (request.entered_at for request in ended.requests)
    return sum(at is not None and moment is not None and abs(at - moment) <= 1e-6 for at in entered)


def _payloads(answer: Answer) -> list[Any]:
    said = answer.json if isinstance(answer.json, list) else [answer.json]
    return [[one.get("time"), one.get("tag")] for one in said]


def _of_call(call: CallFacts, answer: Answer | None, latency_s: float) -> Fields:
    payload = [call.delay_ms, None if call.script.fault in _WITHOUT_TAG else call.tag]
    outcome = _OUTCOMES.get(call.outcome, "failed")
    first = call.attempts[0] if call.attempts else None
    last = call.attempts[-1] if call.attempts else None
    begun = None
    if first is not None:
        begun = first.dials[0][0] if first.dials else first.sent_at
    fields: dict[str, Any] = {
        "id": call.tag,
        "started": call.started_at,
        "begun": begun,
        "ended": call.ended_at,
        "outcome": outcome,
        "error": call.outcome if outcome == "failed" else None,
        "payload": payload,
        "tries": len(call.attempts),
        "sent": [
            [one.sent_at, None if one.time_left_ms is None else one.time_left_ms / 1000]
            for one in call.attempts
            if one.sent_at is not None
        ],
        "first_reused": first is not None and first.reused,
        "comes": None,
        "kept": False,
        "dead_since": None,
    }
    if len(call.attempts) > 1:
        fields |= _before_retry(call)
    if answer is not None:
        fields["won"] = outcome == "ok" and answer.status == 200 and payload in _payloads(answer)
    if last is not None and last.wire is not None:
        fields["kept"] = last.closed_at is None or call.ended_at is None or last.closed_at > call.ended_at
        if last.reused and not last.heard_bytes:
            fields["dead_since"] = last.ended_at
        fields |= _what_came(call, latency_s)
    return fields


def _before_retry(call: CallFacts) -> Fields:
    """The bytes of an answer that had come before the retry. Unknown if they may be of an earlier answer."""
    first = call.attempts[0]
    earlier = [] if first.wire is None else first.wire.calls
    if call in earlier:
        earlier = earlier[: earlier.index(call)]
    if any(one.script.fault in _SENDS_MORE_THAN_ASKED for one in earlier):
        return {}
    return {"came_before_retry": first.heard_bytes}


def _what_came(call: CallFacts, latency_s: float) -> Fields:
    """What the upstream has answered: when it came, and the word for the failure that it is, if it is one."""
    attempt, fault = call.attempts[-1], call.script.fault
    wire, sent_at = attempt.wire, attempt.sent_at
    if wire is None or sent_at is None or not call.arrivals or call.arrivals[-1] < sent_at:
        return {}
    kind = None if fault is None else FAULTS[fault].kind
    before = wire.before(call) if attempt.reused else None
    if kind == "hang" or (before is not None and before.script.fault in _ENDS_ITS_CONNECTION):
        return {}
    drip_s = call.script.drip_ms / 1000 if fault == "drip" else 0.0
    came = call.arrivals[-1] + call.delay_ms / 1000 + latency_s + drip_s
    return {"deserves": kind, "comes": came}


def _of_wire(wire: WireFacts) -> Fields:
    answered = [call.answered and call.attempts[-1].wire is wire for call in wire.calls]
    return {
        "kind": "wire",
        "id": f"u{wire.number}",
        "calls": [c.tag for c in wire.calls],
        "answered": answered,
    }


def _of_end(ended: Ended) -> Iterator[Fields]:
    last_due = ended.drained_at
    for request in ended.requests:
        entered_at = request.entered_at
        if entered_at is not None and entered_at <= ended.drained_at + 1e-6:
            last_due = max(last_due, entered_at + request.script.timeout_ms / 1000)
    for pool in ended.pools:
        yield {"kind": "pool"} | pool
    closed = [connection.closed_at for connection in ended.connections]
    calls = [call for request in ended.requests for call in request.calls.values()]
    bad = (
        [one.bad for one in ended.connections]
        + [one.bad for one in ended.requests]
        + [one.bad for one in calls]
    )
    noted = [note for notes in bad for note in notes if not note.startswith("G")]
    yield {
        "kind": "end",
        "id": "the run",
        "ended": None if None in closed else max((at for at in closed if at is not None), default=0.0),
        "last_due": last_due,
        "cut_off": ended.cut_off,
        "late_counted": ended.late_answers,
        "slow_clients": sum(c.window_bytes < _SMALL_WINDOW_BYTES for c in ended.plan.clients)
        + sum(isinstance(c, StreamsFacts) and c.streams.was_held for c in ended.connections),
        "left": [f"{count} {what}" for what, count in ended.left.items() if count],
        "leak_check": [f"{count} {what}" for what, count in ended.leaks.items() if count],
        "leak_checked": ended.leak_checked,
        "raced": sum(bool(request.calls) for request in ended.requests),
        "dead_but_open": ended.dead_but_open,
        "bugs_raised": ended.bugs_raised,
        "bugs_reported": ended.bugs_reported,
        "threads_started": ended.threads_started,
        "noted": noted + ended.noted,
    }


def line_of(record: Fields) -> str:
    """The record as a line of a file."""
    return json.dumps(record, separators=(",", ":")) + "\n"
