"""Receipts as a Chrome trace-event file, for https://ui.perfetto.dev and the like.

Requests overlap, and a viewer draws what overlaps on one line wrongly: so each request gets the first lane
that is free, and a lane is one line for the request and one for each of its calls.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Final

from fanout.config import MOST_UPSTREAMS
from fanout.observe.receipt import CallReceipt, Receipt
from fanout.race.outcome import Cancelled

LINES_A_LANE: Final = 1 + MOST_UPSTREAMS  # one for the request
_PID: Final = 1
TraceEvent = dict[str, Any]


def trace_events(receipts: Iterable[Receipt]) -> Iterator[TraceEvent]:
    """The events of these receipts. Times are microseconds of Trio's clock."""
    free: list[int] = []
    busy: list[tuple[float, int]] = []  # until when, which lane
    lanes = 0
    for receipt in sorted(receipts, key=lambda receipt: receipt.arrived_at):
        while busy and busy[0][0] <= receipt.arrived_at:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, lanes = lanes, lanes + 1
            yield from _names(lane, len(receipt.calls))
        heapq.heappush(busy, (receipt.ended_at, lane))
        yield from _request(receipt, lane * LINES_A_LANE)


def named(kind: str, name: str, pid: int, tid: int = 0) -> TraceEvent:
    """What a viewer writes beside a row. kind: `process` or `thread`."""
    return {"ph": "M", "pid": pid, "tid": tid, "name": f"{kind}_name", "args": {"name": name}}


def bar(
    name: str,
    pid: int,
    tid: int,
    from_s: float,
    to_s: float | None,
    kind: str = "",
    args: dict[str, Any] | None = None,
) -> TraceEvent:
    """Something that took time, on a row. to_s: `None` when its end is not known: it is drawn as a line."""
    begin = _us(from_s)
    return {
        "ph": "X",
        "pid": pid,
        "tid": tid,
        "ts": begin,
        "dur": 0 if to_s is None else max(0, _us(to_s) - begin),
        "cat": kind,
        "name": name,
        "args": args or {},
    }


def moment(name: str, pid: int, tid: int, at: float, kind: str = "", scope: str = "t") -> TraceEvent:
    """Something that happened, on a row. scope: `t`, or `g` for a line through all rows."""
    return {"ph": "i", "s": scope, "pid": pid, "tid": tid, "ts": _us(at), "cat": kind, "name": name}


def _names(lane: int, calls: int) -> Iterator[TraceEvent]:
    names = [f"requests {lane}", *(f"  call {call}" for call in range(max(calls, 2)))]
    for line, name in enumerate(names, lane * LINES_A_LANE):
        yield named("thread", name, _PID, line)
        order = {"sort_index": line}
        yield {"ph": "M", "pid": _PID, "tid": line, "name": "thread_sort_index", "args": order}


def _request(receipt: Receipt, line: int) -> Iterator[TraceEvent]:
    told = receipt.to_json()
    calls = told.pop("calls")
    name = f"{receipt.endpoint}: {receipt.reason}"
    yield bar(name, _PID, line, receipt.arrived_at, receipt.ended_at, "request", told)
    for call, call_told in zip(receipt.calls, calls, strict=True):
        yield from _call(call, receipt.request_id, line + 1 + call.call, call_told)


def _call(call: CallReceipt, request_id: str, line: int, told: dict[str, Any]) -> Iterator[TraceEvent]:
    if call.started_at is None or call.ended_at is None:
        return
    del told["phases"]
    args = {"request_id": request_id, **told}
    name = call.outcome if call.error is None else f"{call.outcome}: {call.error}"
    yield bar(name, _PID, line, call.started_at, call.ended_at, "call", args)
    ends = [at for _, at in call.phases[1:]] + [call.ended_at]
    for (phase, at), end in zip(call.phases, ends, strict=True):
        yield bar(phase, _PID, line, at, end, "phase")
    if call.outcome == Cancelled.word:
        why = f"cancelled: {call.cancel_reason or call.cancel_source}"
        yield moment(why, _PID, line, call.ended_at, "call")


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
