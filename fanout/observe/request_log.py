"""One line a request, out of its receipt: a JSON object for machines, a short row for people.

On the event loop a line costs an append; it is made in the writer's thread, and does not pass loguru.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as _quoted
from typing import Final

from fanout.observe.log import Logs
from fanout.observe.receipt import CallReceipt, Receipt

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class RequestLog:
    """A consumer of receipts. Lines below the level of the logs are not written.

    which: `all`, `failed` (whatever is not `success`, and late answers), or `none`.
    """

    def __init__(
        self,
        logs: Logs,
        which: str,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._put = logs.writer.put
        self._which = which
        self._least = _LEVELS[logs.level]
        self._line = text_line if logs.as_text else json_line
        self._wall_clock = wall_clock

    def __call__(self, receipt: Receipt) -> None:
        if self._which == "none" or (self._which == "failed" and not _has_failed(receipt)):
            return
        if _LEVELS[level_of(receipt)] >= self._least:
            self._put(self._line, (receipt, self._wall_clock()))


def level_of(receipt: Receipt) -> str:
    """`error` for a bug of ours, `warning` for another 5xx or a late answer, else `info`."""
    if receipt.reason == "internal":
        return "error"
    return "warning" if (receipt.status or 0) >= 500 or receipt.late_by_ms > 0 else "info"


def _has_failed(receipt: Receipt) -> bool:
    return receipt.reason != "success" or receipt.late_by_ms > 0


def json_line(ended: tuple[Receipt, datetime]) -> str:
    """The receipt's essence. What is not known, or does not apply, is left out.

    Written out: `json.dumps` of a dictionary takes four times as long, and this is done for every request.
    """
    receipt, now = ended
    line = (
        f'{{"time": "{now.isoformat()}", "level": "{level_of(receipt)}", "message": "request", '
        f'"request_id": {_quoted(receipt.request_id)}'
    )
    if receipt.trace_id is not None:
        line += f', "trace_id": "{receipt.trace_id}"'
    line += f', "endpoint": "{receipt.endpoint}"'
    if receipt.status is not None:
        line += f', "status": {receipt.status}'
    line += f', "reason": "{receipt.reason}"'
    if receipt.timeout_ms is not None:
        line += f', "timeout_ms": {receipt.timeout_ms}'
    line += f', "used_ms": {receipt.used_ms:.1f}'
    if receipt.late_by_ms >= 0.05:
        line += f', "late_by_ms": {receipt.late_by_ms:.1f}'
    if receipt.calls:
        line += f', "calls": [{", ".join([_call(call, receipt.arrived_at) for call in receipt.calls])}]'
    return line + "}\n"


def _call(call: CallReceipt, arrived_at: float) -> str:
    line = f'{{"outcome": "{call.outcome}"'
    if call.error is not None:
        line += f', "error": {_quoted(call.error)}'
    if call.status is not None:
        line += f', "status": {call.status}'
    if call.ended_at is not None:
        line += f', "ended_ms": {(call.ended_at - arrived_at) * 1000:.1f}'
    if call.reused is not None:
        line += ', "reused": true' if call.reused else ', "reused": false'
    if call.kept is not None:
        line += ', "kept": true' if call.kept else ', "kept": false'
    if call.cancel_source is not None:
        line += f', "cancelled_by": "{call.cancel_source}"'
    if call.cancel_reason is not None:
        line += f', "because": {_quoted(call.cancel_reason)}'
    if call.cancel_to_exit_ms is not None:
        line += f', "exit_ms": {call.cancel_to_exit_ms:.3f}'
    return line + "}"


def text_line(ended: tuple[Receipt, datetime]) -> str:
    """`12:30:05.120 all 500 deadline 980/1000 ms [ok 120 ms, cancelled 980 ms by deadline] id=5f1c-9`."""
    receipt, now = ended
    at = now.astimezone().strftime("%H:%M:%S.%f")[:-3]  # in the reader's own time zone
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
