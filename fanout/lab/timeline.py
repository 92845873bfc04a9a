"""Calls as lanes over time. Every experiment draws them, as text here and as a picture in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

End = Literal["success", "failure", "cancelled", "bug", "left", "cut", "done"]
"""How a lane ended. left: still running when it should have ended. cut: its clean-up was ended before it was
done. done: none of the others applies."""

WIDTH: Final = 24  # characters for the longest lane


@dataclass(frozen=True, slots=True)
class Lane:
    """One call, task or connection. Times are milliseconds after the request arrived.

    was_reset: its connection was closed while an answer was still due, as the other side saw it.
    note: one line, such as the reason of a cancellation.
    """

    name: str
    from_ms: float
    to_ms: float
    end: End
    note: str = ""
    was_reset: bool = False

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def drawn(lanes: Sequence[Lane], width: int = WIDTH) -> list[str]:
    """One line per lane, all on one scale: `call 1 |####R cancelled   51.0 ms  "call 0 settled the race"`."""
    if not lanes:
        return []
    longest = max(lane.to_ms for lane in lanes) or 1
    names = max(len(lane.name) for lane in lanes)
    ends = max(len(lane.end) for lane in lanes)
    lines = []
    for lane in lanes:
        before = round(lane.from_ms / longest * width)
        bar = "#" * max(round(lane.to_ms / longest * width) - before, 1)
        edge = "R" if lane.was_reset else ">" if lane.end == "left" else "|"
        drawing = f"{' ' * before}|{bar}{edge}".ljust(width + 3)
        note = f'  "{lane.note}"' if lane.note else ""
        lines.append(f"{lane.name:<{names}} {drawing} {lane.end:<{ends}} {lane.to_ms:8.1f} ms{note}")
    return lines
