"""The log of a real server, made into records: its requests, and what other lines say of guarantees.

The server's receipts as JSON (`fanout.observe.receipt`) are understood as well. They have no time of day,
so their times count from the arrival.

Rule 1: what a line does not say is left out of its record, so that no formula is kept for want of a fact.
Rule 2: memory is bounded: a request that waits for the report of its bug does so for `BUG_WITHIN_S`.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct, ValidationError, convert, field

from fanout.race.outcome import TOO_LATE

ROUNDING_S: Final = 0.0002  # the log rounds times to a tenth of a millisecond
BUG_WITHIN_S: Final = 5.0  # of log time: lines are written in batches, and may be out of order
_MAX_BUGS: Final = 10_000  # request ids of bugs that are remembered
_DRAINING: Final = "draining: "  # how the line begins that says so
_LEAKS: Final = re.compile(
    r"task .* is alive although its request (?:was answered|had ended): .*"
    r"|\d+ admission (?:tokens|permits) are taken by requests that have been answered"
    r"|\d+ upstream connections are in use by nobody",
    re.DOTALL,
)

Fields = Mapping[str, Any]
Numbered = tuple[Fields, int]
"""A record, and the number of the line that it is from."""


class BadLine(ValueError):
    """A line that cannot be read. The text says why, in one line."""


class Call(Struct):
    """A call in a line of the log, or in a receipt. Times are milliseconds after the arrival."""

    outcome: str
    error: str | None = None
    started_ms: float | None = None
    ended_ms: float | None = None
    kept: bool | None = None
    exit_ms: float | None = None
    cancel_to_exit_ms: float | None = None
    cancelled_by: str | None = None
    cancel_source: str | None = None
    left: list[str] | None = None
    because: str | None = None
    cancel_reason: str | None = None
    time_left_ms: int | None = None
    phases: list[tuple[str, float]] | None = None


class Line(Struct):
    """A line of the log, or a receipt. Both have an id, how long it took, and a reason."""

    request_id: str
    used_ms: float
    reason: str
    endpoint: str
    time: datetime | None = None
    status: int | None = None
    timeout_ms: int | None = None
    reserve_ms: float | None = None
    calls: list[Call] = field(default_factory=list)


class LogRecords:
    """Feed it the objects of a log, one after the other. `requests`: how many of them were about requests."""

    def __init__(self) -> None:
        self.requests = 0
        self._has_run = self._has_workers = False
        self._drained_at: float | None = None
        self._last_due = 0.0
        self._bugs: OrderedDict[str, int] = OrderedDict()  # reports by request
        self._waiting: deque[tuple[float, dict[str, Any], int]] = (
            deque()
        )  # until when, for the report of a bug

    def feed(self, entry: Mapping[str, Any], line: int) -> Iterator[Numbered]:
        """The records that are complete with this line. Raises `BadLine`."""
        if not self._has_run:
            yield self._new_run(), line
        if entry.get("message") == "request" or ("message" not in entry and "request_id" in entry):
            yield from self._request(entry, line)
        else:
            yield from self._said(entry, line)

    def end(self) -> Iterator[Numbered]:
        """Those that were still waiting when the log ended."""
        while self._waiting:
            _, record, line = self._waiting.popleft()
            yield record | {"bugs": self._bugs.get(record["id"], 0)}, line

    def _new_run(self) -> Fields:
        """What is known of a server: when it began to drain, if it has. With several workers not even that,
        because the lines about requests do not say which worker had them."""
        self._has_run = True
        known = {} if self._has_workers else {"drained": self._drained_at}
        return {"kind": "run", "stalls": []} | known

    def _said(self, entry: Mapping[str, Any], line: int) -> Iterator[Numbered]:
        message, request_id = str(entry.get("message")), str(entry.get("request_id", "the server"))
        if message == "ready":
            self._drained_at, self._last_due, self._has_workers = None, 0.0, False
            yield self._new_run(), line
        elif message.startswith("bug in ") and "traceback" in entry:
            self._bugs[request_id] = self._bugs.get(request_id, 0) + 1
            if len(self._bugs) > _MAX_BUGS:
                self._bugs.popitem(last=False)
        elif _LEAKS.fullmatch(message):
            yield {"kind": "leak", "id": request_id, "text": message}, line
        elif "worker" in entry or self._has_workers:
            if not self._has_workers:
                self._has_workers = True
                yield self._new_run(), line
        elif message.startswith(_DRAINING):
            self._drained_at = _unix_s(entry)
            yield self._new_run(), line
        elif message == "stopped" and self._drained_at is not None:
            due = max(self._last_due, self._drained_at)
            yield (
                {
                    "kind": "end",
                    "id": "the server",
                    "ended": _unix_s(entry),
                    "last_due": due,
                    "cut_off": False,
                },
                line,
            )

    def _request(self, entry: Mapping[str, Any], line: int) -> Iterator[Numbered]:
        try:
            read = convert(entry, Line)
        except ValidationError as error:
            raise BadLine(f"no receipt that fanout writes: {error}") from None
        self.requests += 1
        record = _record(read)
        ended_at = record["arrived"] + read.used_ms / 1000
        while self._waiting and self._waiting[0][0] < ended_at:
            _, waited, number = self._waiting.popleft()
            yield waited | {"bugs": self._bugs.get(waited["id"], 0)}, number
        if read.timeout_ms is not None and read.status not in (None, 503):
            self._last_due = max(self._last_due, record["arrived"] + read.timeout_ms / 1000)
        for call in read.calls:
            for place in call.left or ():
                yield (
                    {"kind": "leak", "id": read.request_id, "text": f"an asyncio task was left: {place}"},
                    line,
                )
        if read.reason == "internal":
            self._waiting.append((ended_at + BUG_WITHIN_S, record, line))
        else:
            yield record | {"bugs": self._bugs.get(read.request_id, 0)}, line


def _unix_s(entry: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(str(entry.get("time"))).timestamp()
    except ValueError:
        raise BadLine(f"time is {entry.get('time')!r}: it has to be as fanout writes it") from None


def _record(line: Line) -> dict[str, Any]:
    used_s = line.used_ms / 1000
    arrived = 0.0 if line.time is None else line.time.timestamp() - used_s
    has_left = line.reason == "client_disconnected"
    ended = arrived + used_s
    record: dict[str, Any] = {
        "kind": "request",
        "id": line.request_id,
        "asks": line.endpoint,
        "timeout": None if line.timeout_ms is None else line.timeout_ms / 1000,
        "in_time": True,
        "arrived": arrived,
        "read": arrived,
        "by_app": True,
        # The log does not tell the first byte from the last.
        "began": None if line.status is None else ended,
        "written": None if line.status is None or has_left else ended,
        "waited": 0.0,
        "status": line.status,
        "reason": line.reason,
        "left": _left_at(line, arrived, ended) if has_left else None,
        "calls": [_call(call, number, line, arrived) for number, call in enumerate(line.calls)],
    }
    reserve_s = _reserve_s(line)
    return record if reserve_s is None else record | {"reserve": reserve_s}


def _left_at(line: Line, arrived: float, ended: float) -> float:
    """When the client had disconnected: when its calls were cancelled; without any, the end."""
    known = [
        arrived + (call.ended_ms - exit_ms) / 1000
        for call in line.calls
        if call.ended_ms is not None and (exit_ms := _exit_ms(call)) is not None
    ]
    return min(known, default=ended)


def _reserve_s(line: Line) -> float | None:
    """The receipt has it. In the log the deadline shows it, when it has cancelled a call."""
    if line.reserve_ms is not None:
        return line.reserve_ms / 1000
    for call in line.calls:
        exit_ms = _exit_ms(call)
        by_deadline = "deadline" in (call.cancelled_by, call.cancel_source)
        if by_deadline and exit_ms is not None and call.ended_ms is not None and line.timeout_ms is not None:
            return (line.timeout_ms - (call.ended_ms - exit_ms)) / 1000
    return None


def _exit_ms(call: Call) -> float | None:
    return call.cancel_to_exit_ms if call.exit_ms is None else call.exit_ms


def _call(call: Call, number: int, line: Line, arrived: float) -> Fields:
    def at(after_ms: float | None) -> float | None:
        return None if after_ms is None else arrived + after_ms / 1000

    record: dict[str, Any] = {
        "id": f"{line.request_id}.{number}",
        "outcome": _outcome(call),
        "won": call.outcome == "won",
        "error": call.error,
        "ended": at(call.ended_ms),
        "comes": None,  # a call to which a whole answer had come is not `cancelled`
        "kept": bool(call.kept),
    }
    if call.started_ms is not None:
        record["started"] = at(call.started_ms)
        if call.phases:
            record["begun"] = at(call.phases[0][1])
        if call.phases and call.time_left_ms is not None:  # of the last request that was sent
            sent_at = max(after_ms for phase, after_ms in call.phases if phase == "wait")
            record["sent"] = [[at(sent_at), call.time_left_ms / 1000]]
    return record


def _outcome(call: Call) -> str:
    """In a word of the formulas."""
    if call.outcome == "cancelled" and TOO_LATE.reason in (call.because, call.cancel_reason):
        return "too_late"
    return "ok" if call.outcome == "won" else call.outcome
