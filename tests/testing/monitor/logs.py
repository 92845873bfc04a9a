"""A receipt as the server makes it, of one request that a race was run for."""

from __future__ import annotations

from typing import Any

from fanout.observe.receipt import CallReceipt, Receipt

Entry = dict[str, Any]


def line_of_receipt() -> Entry:
    """`first`, won by call 1 after 150 ms; call 0 was cancelled."""
    phases = (("connect", 100.0001), ("wait", 100.01))
    calls = (
        CallReceipt(
            0, "cancelled", None, None, 100.0, 100.1502, phases, False, False, "explicit", "call 1 won", 0.2
        ),
        CallReceipt(
            1, "won", None, None, 100.0, 100.15, (*phases, ("kept", 100.15)), False, True, None, None, None
        ),
    )
    receipt = Receipt("r-1", None, "first", 100.0, 1000, 20.0, 100.1505, 150.5, 200, "success", 0.0, calls)
    return receipt.to_json()
