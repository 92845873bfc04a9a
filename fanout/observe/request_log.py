"""One line a request, out of its receipt: a JSON object for machines, a short row for people.

On the event loop a line costs an append; it is made in the writer's thread, and does not pass through loguru.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from typing import Final

import trio
from msgspec import Struct
from msgspec.json import Encoder

from fanout.observe.log import Logs
from fanout.observe.receipt import CallReceipt, Receipt

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_OFFSET_HOLDS_S: Final = 1.0
_encode: Final = Encoder().encode


def _clock_offset_s() -> float:
    return datetime.now(UTC).timestamp() - trio.current_time()


class RequestLog:
    """A consumer of receipts. Lines below the level of the logs are not written.

    which: `all`, `failed` (whatever is not `success`, and late answers), or `none`.
    """

    def __init__(
        self,
        logs: Logs,
        which: str,
        clock_offset_s: Callable[[], float] = _clock_offset_s,
    ) -> None:
        """clock_offset_s: what to add to the loop's clock for Unix time. Asked once a second, for the time of
        day can be set."""
        self._put = logs.writer.put
        self._which = which
        self._least = _LEVELS[logs.level]
        self._line = text_line if logs.as_text else json_line
        self._clock_offset_s = clock_offset_s
        self._offset_s = 0.0
        self._offset_holds_until = -inf

    def __call__(self, receipt: Receipt) -> None:
        if self._which == "none" or (self._which == "failed" and not _has_failed(receipt)):
            return
        if self._least > _LEVELS["info"]:  # else all are high enough
            level = level_of(receipt.reason, receipt.status, receipt.late_by_ms > 0)
            if _LEVELS[level] < self._least:
                return
        ended_at = receipt.ended_at
        if ended_at >= self._offset_holds_until:
            self._offset_s = self._clock_offset_s()
            self._offset_holds_until = ended_at + _OFFSET_HOLDS_S
        self._put(self._line, (receipt, ended_at + self._offset_s))


def level_of(reason: str, status: int | None, is_late: bool) -> str:
    """`error` for a bug of ours, `warning` for another 5xx or a late answer, else `info`."""
    if reason == "internal":
        return "error"
    return "warning" if (status or 0) >= 500 or is_late else "info"


def _has_failed(receipt: Receipt) -> bool:
    return receipt.reason != "success" or receipt.late_by_ms > 0


class CallLine(Struct, omit_defaults=True):
    """One call in a line of the log. exit_ms: from its cancellation to its end."""

    outcome: str
    error: str | None = None
    status: int | None = None
    ended_ms: float | None = None
    reused: bool | None = None
    kept: bool | None = None
    cancelled_by: str | None = None
    because: str | None = None
    exit_ms: float | None = None


class RequestLine(Struct, omit_defaults=True):
    """A line of the log, its fields in order. Times are milliseconds after the arrival.

    What is `None` is not known, or does not apply, and is left out.
    """

    time: datetime
    level: str
    message: str
    request_id: str
    trace_id: str | None = None
    endpoint: str | None = None
    status: int | None = None
    reason: str | None = None
    timeout_ms: int | None = None
    used_ms: float | None = None
    late_by_ms: float | None = None
    calls: list[CallLine] | None = None


def json_line(ended: tuple[Receipt, float]) -> str:
    """The receipt's essence, as one JSON object."""
    receipt, ended_unix_s = ended
    late_by_ms = round(receipt.late_by_ms, 1)
    line = RequestLine(
        datetime.fromtimestamp(ended_unix_s, UTC),
        level_of(receipt.reason, receipt.status, receipt.late_by_ms > 0),
        "request",
        receipt.request_id,
        receipt.trace_id,
        receipt.endpoint,
        receipt.status,
        receipt.reason,
        receipt.timeout_ms,
        round(receipt.used_ms, 1),
        late_by_ms or None,
        [_call_line(call, receipt.arrived_at) for call in receipt.calls] or None,
    )
    return f"{_encode(line).decode()}\n"


def _call_line(call: CallReceipt, arrived_at: float) -> CallLine:
    ended_at, exit_ms = call.ended_at, call.cancel_to_exit_ms
    return CallLine(
        call.outcome,
        call.error,
        call.status,
        None if ended_at is None else round((ended_at - arrived_at) * 1000, 1),
        call.reused,
        call.kept,
        call.cancel_source,
        call.cancel_reason,
        None if exit_ms is None else round(exit_ms, 3),
    )


def text_line(ended: tuple[Receipt, float]) -> str:
    """`12:30:05.120 all 500 deadline 980/1000 ms [ok 120 ms, cancelled 980 ms by deadline] id=5f1c-9`."""
    receipt, ended_unix_s = ended
    in_the_readers_zone = datetime.fromtimestamp(ended_unix_s, UTC).astimezone()
    at = in_the_readers_zone.strftime("%H:%M:%S.%f")[:-3]
    status = receipt.status or "---"
    budget = "" if receipt.timeout_ms is None else f"/{receipt.timeout_ms}"
    late = f" LATE by {receipt.late_by_ms:.1f} ms" if receipt.late_by_ms else ""
    calls = ", ".join([_call_text(call, receipt.arrived_at) for call in receipt.calls])
    return (
        f"{at} {receipt.endpoint} {status} {receipt.reason} {receipt.used_ms:.0f}{budget} ms{late}"
        f"{f' [{calls}]' if calls else ''} id={receipt.request_id}\n"
    )


def _call_text(call: CallReceipt, arrived_at: float) -> str:
    words = [call.outcome]
    if call.error is not None:
        words.append(call.error if call.status is None else f"{call.error} {call.status}")
    if call.started_at is not None and call.ended_at is not None:
        words.append(f"{(call.ended_at - arrived_at) * 1000:.0f} ms")
    if call.cancel_source is not None:
        words.append(f"by {call.cancel_reason or call.cancel_source}")
    return " ".join(words)
