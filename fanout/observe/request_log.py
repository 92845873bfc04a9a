"""One line a request, out of its receipt: a JSON object for machines, a short row for people.

On the event loop a line costs an append; it is made in the writer's thread, and does not pass loguru. To make
it at once, while its receipt is in the processor's caches, takes no less time all in all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from math import inf
from typing import Final

import trio

from fanout.observe.log import Logs
from fanout.observe.receipt import CallReceipt, Receipt

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_OFFSET_HOLDS_S: Final = 1.0
_WORDS_KEPT: Final = 256  # of requests and of calls; there are some dozens of each


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


def json_line(ended: tuple[Receipt, float]) -> str:
    """The receipt's essence. What is not known, or does not apply, is left out.

    Written out: `json.dumps` of a dictionary takes eight times as long, and this is done for every request.
    What most lines share is put together once.
    """
    receipt, ended_unix_s = ended
    timeout_ms, used_ms, late_by_ms = receipt.timeout_ms, receipt.used_ms, receipt.late_by_ms
    head, about = _words(receipt.endpoint, receipt.status, receipt.reason, late_by_ms > 0)
    second, us = _second(int(ended_unix_s)), int(ended_unix_s % 1 * 1_000_000)
    line = f'{{"time": "{second}.{us:06d}{head}{_quoted(receipt.request_id)}'
    if receipt.trace_id is not None:
        line += f', "trace_id": "{receipt.trace_id}"'
    line += about if timeout_ms is None else f'{about}, "timeout_ms": {timeout_ms}'
    line += f', "used_ms": {used_ms:.1f}'
    if late_by_ms >= 0.05:
        line += f', "late_by_ms": {late_by_ms:.1f}'
    if receipt.calls:
        line += f', "calls": [{", ".join([_call(call, receipt.arrived_at) for call in receipt.calls])}]'
    return line + "}\n"


@lru_cache(2)
def _second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(_WORDS_KEPT)
def _words(endpoint: str, status: int | None, reason: str, is_late: bool) -> tuple[str, str]:
    """What stands between the time and the id, and what stands behind that."""
    level = level_of(reason, status, is_late)
    answer = "" if status is None else f', "status": {status}'
    return (
        f'+00:00", "level": "{level}", "message": "request", "request_id": ',
        f', "endpoint": "{endpoint}"{answer}, "reason": "{reason}"',
    )


def _call(call: CallReceipt, arrived_at: float) -> str:
    ended_at, exit_ms = call.ended_at, call.cancel_to_exit_ms
    outcome, about = _call_words(
        call.outcome, call.error, call.status, call.reused, call.kept, call.cancel_source, call.cancel_reason
    )
    line = outcome if ended_at is None else f'{outcome}, "ended_ms": {(ended_at - arrived_at) * 1000:.1f}'
    return f"{line}{about}}}" if exit_ms is None else f'{line}{about}, "exit_ms": {exit_ms:.3f}}}'


@lru_cache(_WORDS_KEPT)
def _call_words(
    outcome: str,
    error: str | None,
    status: int | None,
    reused: bool | None,
    kept: bool | None,
    source: str | None,
    reason: str | None,
) -> tuple[str, str]:
    """What stands before and what stands behind the time of its end."""
    ended = f'{{"outcome": "{outcome}"'
    if error is not None:
        ended += f', "error": {_quoted(error)}'
    if status is not None:
        ended += f', "status": {status}'
    about = ""
    if reused is not None:
        about += ', "reused": true' if reused else ', "reused": false'
    if kept is not None:
        about += ', "kept": true' if kept else ', "kept": false'
    if source is not None:
        about += f', "cancelled_by": "{source}"'
    if reason is not None:
        about += f', "because": {_quoted(reason)}'
    return ended, about


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
