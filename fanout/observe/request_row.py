"""The line of a request for people: what was asked and answered, then the story in words.

INFO    12:30:05.120 GET /api/first 200 160 ms  call 1 won after 160 ms, call 0 was cancelled after 160 ms (…)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from fanout.observe.log import printable
from fanout.observe.receipt import CallReceipt, Receipt

_LEVEL_STYLES: Final[dict[str, dict[str, Any]]] = {  # as loguru has them, in the other lines
    "info": {"bold": True},
    "warning": {"fg": "yellow", "bold": True},
    "error": {"fg": "red", "bold": True},
}
_STATUS_COLOURS: Final = {2: "green", 4: "yellow", 5: "red"}
_REASONS: Final = {
    "success": "",
    "client_disconnected": "the client disconnected",
    "internal": "a bug of this server",
}
_OUTCOMES: Final = {
    "ok": "succeeded",
    "cancelled": "was cancelled",
    "internal": "ended with a bug",
    "not_started": "was not started",
}


class RequestRows:
    def __init__(self, upstreams: Sequence[str], has_colour: bool) -> None:
        """upstreams: the name of the upstream of each call."""
        is_one = len(set(upstreams)) == 1
        self._calls = [f"call {n}" if is_one else f"call {n} to {name}" for n, name in enumerate(upstreams)]
        self._has_colour = has_colour

    def row(self, ended: tuple[Receipt, float]) -> str:
        """ended: the receipt, and the end of the request in Unix time."""
        receipt, ended_unix_s = ended
        level, status = level_of(receipt), receipt.status or 0
        in_the_readers_zone = datetime.fromtimestamp(ended_unix_s, UTC).astimezone()
        words = (
            self._paint(f"{level.upper():<7}", **_LEVEL_STYLES[level]),
            self._paint(in_the_readers_zone.strftime("%H:%M:%S.%f")[:-3], dim=True),
            printable(f"{receipt.method} {receipt.path}").replace("\n", "\\x0a"),
            self._paint(str(status or "---"), fg=_STATUS_COLOURS.get(status // 100)),
            f"{receipt.used_ms:.0f} ms ",
            self._story(receipt),
            self._paint(f"({address_of(receipt) or 'no address'}, id {receipt.request_id})", dim=True),
        )
        return f"{' '.join(words)}\n"

    def _paint(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self._has_colour else text

    def _story(self, receipt: Receipt) -> str:
        reason = receipt.reason
        ending = _REASONS.get(reason, reason.replace("_", " "))
        if reason == "deadline":
            ending = f"the deadline of {receipt.timeout_ms} ms came"
        late = f"late by {receipt.late_by_ms:.1f} ms" if receipt.late_by_ms else ""
        calls = ", ".join([self._call_story(call, receipt.arrived_at) for call in receipt.calls])
        return ": ".join([part for part in (ending, late, calls) if part]) or "answered"

    def _call_story(self, call: CallReceipt, arrived_at: float) -> str:
        story = f"{self._calls[call.call]} {_OUTCOMES.get(call.outcome, call.outcome)}"
        if call.started_at is not None and call.ended_at is not None:
            story += f" after {(call.ended_at - arrived_at) * 1000:.0f} ms"
        why = call.error or call.cancel_reason or call.cancel_source
        status = "" if call.status is None else f" {call.status}"
        left = f" and left {'; '.join(call.left)}" if call.left else ""
        return f"{story} ({why}{status}){left}" if why else f"{story}{left}"


def level_of(receipt: Receipt) -> str:
    """`error` for a bug of ours, `warning` for another 5xx or a late answer, else `info`."""
    if receipt.reason == "internal":
        return "error"
    return "warning" if (receipt.status or 0) >= 500 or receipt.late_by_ms > 0 else "info"


def address_of(receipt: Receipt) -> str | None:
    """The client's `HOST:PORT`, or `[HOST]:PORT`; `None` if it is not known."""
    if receipt.client is None:
        return None
    host, port = receipt.client
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
