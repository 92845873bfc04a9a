"""One line per request, out of its receipt: a JSON object for machines, a row for people (`request_row.py`).

On the event loop a line costs an append; it is made in the writer's thread, and does not pass through loguru.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import inf
from typing import Final

import trio
from msgspec import Struct
from msgspec.json import Encoder

from fanout.observe.log import Logs
from fanout.observe.receipt import CallReceipt, Receipt
from fanout.observe.request_row import RequestRows, address_of, level_of

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
        upstreams: Sequence[str],
        clock_offset_s: Callable[[], float] = _clock_offset_s,
    ) -> None:
        """upstreams: the name of the upstream of each call. clock_offset_s: what to add to the loop's clock
        for Unix time. Asked once a second, for the time of day can be set."""
        self._put = logs.writer.put
        self._which = which
        self._least = _LEVELS[logs.level]
        self._upstreams = upstreams
        self._line = RequestRows(upstreams, logs.has_colour).row if logs.as_text else self._json_line
        self._clock_offset_s = clock_offset_s
        self._offset_s = 0.0
        self._offset_holds_until = -inf

    def __call__(self, receipt: Receipt) -> None:
        if self._which == "none" or (self._which == "failed" and not _has_failed(receipt)):
            return
        if self._least > _LEVELS["info"]:  # else all are high enough
            level = level_of(receipt)
            if _LEVELS[level] < self._least:
                return
        ended_at = receipt.ended_at
        if ended_at >= self._offset_holds_until:
            self._offset_s = self._clock_offset_s()
            self._offset_holds_until = ended_at + _OFFSET_HOLDS_S
        self._put(self._line, (receipt, ended_at + self._offset_s))

    def _json_line(self, ended: tuple[Receipt, float]) -> str:
        """The receipt's essence, as one JSON object."""
        receipt, ended_unix_s = ended
        late_by_ms = round(receipt.late_by_ms, 1)
        line = RequestLine(
            datetime.fromtimestamp(ended_unix_s, UTC),
            level_of(receipt),
            "request",
            receipt.request_id,
            receipt.trace_id,
            receipt.method,
            receipt.path,
            address_of(receipt),
            receipt.endpoint,
            receipt.status,
            receipt.reason,
            receipt.timeout_ms,
            round(receipt.used_ms, 1),
            late_by_ms or None,
            receipt.timeout_from,
            [self._call_line(call, receipt.arrived_at) for call in receipt.calls] or None,
        )
        return f"{_encode(line).decode()}\n"

    def _call_line(self, call: CallReceipt, arrived_at: float) -> CallLine:
        ended_at, exit_ms = call.ended_at, call.cancel_to_exit_ms
        return CallLine(
            self._upstreams[call.call],
            call.outcome,
            call.error,
            call.status,
            None if ended_at is None else round((ended_at - arrived_at) * 1000, 1),
            call.reused,
            call.kept,
            call.cancel_source,
            call.cancel_reason,
            None if exit_ms is None else round(exit_ms, 3),
            call.left or None,
            call.time_left_ms,
        )


def _has_failed(receipt: Receipt) -> bool:
    return receipt.reason != "success" or receipt.late_by_ms > 0


class CallLine(Struct, omit_defaults=True):
    """One call in a line of the log. upstream: its name. exit_ms: from its cancellation to its end.

    left: the asyncio tasks that it left, by the place in the code. time_left_ms: what its upstream was sent.
    """

    upstream: str
    outcome: str
    error: str | None = None
    status: int | None = None
    ended_ms: float | None = None
    reused: bool | None = None
    kept: bool | None = None
    cancelled_by: str | None = None
    because: str | None = None
    exit_ms: float | None = None
    left: tuple[str, ...] | None = None
    time_left_ms: int | None = None


class RequestLine(Struct, omit_defaults=True):
    """A line of the log, its fields in order. Times are milliseconds after the arrival.

    What is `None` is not known, or does not apply, and is left out.
    """

    time: datetime
    level: str
    message: str
    request_id: str
    trace_id: str | None = None
    method: str | None = None
    path: str | None = None
    client: str | None = None
    endpoint: str | None = None
    status: int | None = None
    reason: str | None = None
    timeout_ms: int | None = None
    used_ms: float | None = None
    late_by_ms: float | None = None
    timeout_from: str | None = None
    calls: list[CallLine] | None = None
