"""Receipts as a Chrome trace-event file, for https://ui.perfetto.dev and the like.

Requests overlap, and a viewer draws what overlaps on one line wrongly: so each request gets the first lane
that is free, and a lane is one line for the request and one for each of its calls.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from fanout.observe.receipt import CallReceipt, Receipt

LINES_A_LANE = 16  # more calls than anybody makes
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


def _names(lane: int, calls: int) -> Iterator[TraceEvent]:
    names = [f"requests {lane}", *(f"  call {call}" for call in range(max(calls, 2)))]
    for line, name in enumerate(names, lane * LINES_A_LANE):
        yield {"ph": "M", "pid": 1, "tid": line, "name": "thread_name", "args": {"name": name}}
        yield {"ph": "M", "pid": 1, "tid": line, "name": "thread_sort_index", "args": {"sort_index": line}}


def _request(receipt: Receipt, line: int) -> Iterator[TraceEvent]:
    told = receipt.to_json()
    calls = told.pop("calls")
    name = f"{receipt.endpoint}: {receipt.reason}"
    yield _span(name, "request", receipt.arrived_at, receipt.ended_at, line, told)
    for call, call_told in zip(receipt.calls, calls, strict=True):
        yield from _call(call, receipt.request_id, line + 1 + call.call, call_told)


def _call(call: CallReceipt, request_id: str, line: int, told: dict[str, Any]) -> Iterator[TraceEvent]:
    if call.started_at is None or call.ended_at is None:
        return
    del told["phases"]
    args = {"request_id": request_id, **told}
    name = call.outcome if call.error is None else f"{call.outcome}: {call.error}"
    yield _span(name, "call", call.started_at, call.ended_at, line, args)
    ends = [at for _, at in call.phases[1:]] + [call.ended_at]
    for (phase, at), end in zip(call.phases, ends, strict=True):
        yield _span(phase, "phase", at, end, line, {})
    if call.outcome == "cancelled":
        why = f"cancelled: {call.cancel_reason or call.cancel_source}"
        moment = {"ph": "i", "s": "t", "pid": 1, "tid": line, "ts": _us(call.ended_at)}
        yield {**moment, "cat": "call", "name": why}


def _span(name: str, kind: str, begin: float, end: float, line: int, args: dict[str, Any]) -> TraceEvent:
    return {
        "ph": "X",
        "pid": 1,
        "tid": line,
        "ts": _us(begin),
        "dur": _us(end) - _us(begin),
        "cat": kind,
        "name": name,
        "args": args,
    }


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
