"""Runs of two calls as SVG: a lane per call, on one time axis. Readable in light and dark; loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Protocol

WIDTH, LEFT, RIGHT, TITLE, LANE, BAR, AXIS, GAP = 860, 70, 190, 34, 30, 16, 22, 16
TICK_MS: Final = 100
MAX_MS: Final = 750.0  # what takes longer is cut off there
_ENDS: Final = {
    "A": ("good", "answers"),
    "F": ("bad", "fails"),
    "X": ("cancelled", "cancelled"),
    ">": ("left", "still runs"),
    "~": ("tidy", "cleaned up"),
}
_STYLE: Final = """\
  svg { color-scheme: light dark; font: 13px system-ui, sans-serif; background: #fff }
  text { fill: #1f2328 } .quiet { fill: #59636e; font-size: 12px } .name { font-weight: 600 }
  .good { fill: #1a7f37 } .bad { fill: #bc4c00 } .cancelled { fill: #8c959f } .left { fill: #cf222e }
  .tidy { fill: #8250df } .axis { stroke: #d1d9e0 } .deadline { stroke: #bc4c00; stroke-dasharray: 4 4 }
  .answer { stroke: #0969da; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 } .axis { stroke: #3d444d }
    .good { fill: #3fb950 } .bad { fill: #db6d28 } .cancelled { fill: #656c76 } .left { fill: #f85149 }
    .tidy { fill: #ab7df8 } .deadline { stroke: #db6d28 } .answer { stroke: #58a6ff }
  }"""


class Stretch(Protocol):
    """As in examples/steps/experiments.py."""

    what: str
    began_ms: float
    ended_ms: float
    end: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One run. seen: what came of it, in words. at_ms: when `first` ended."""

    title: str
    timeout_ms: float
    seen: str
    at_ms: float
    lanes: Sequence[Sequence[Stretch]]


def svg(title: str, panels: Sequence[Panel]) -> str:
    latest = max(max(panel.at_ms, panel.timeout_ms) for panel in panels if panel.at_ms < MAX_MS)
    end_ms = min(MAX_MS, max(latest, 300) + TICK_MS / 2)
    parts = [
        _text(LEFT - 54, 26, title, "name"),
        _text(WIDTH - 16, 26, "dashed: the deadline; blue: the answer", "quiet", 'text-anchor="end"'),
    ]
    y = 44
    for panel in panels:
        some, y = _panel(panel, y, end_ms)
        parts += some
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}"',
        ' role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape("; ".join(f"{panel.title}: {panel.seen}" for panel in panels))}</desc>',
        f"<style>\n{_STYLE}\n</style>",
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def _panel(panel: Panel, y: int, end_ms: float) -> tuple[list[str], int]:
    def x(ms: float) -> float:
        return round(LEFT + min(ms, end_ms) / end_ms * (WIDTH - LEFT - RIGHT), 1)

    top, bottom = y + TITLE, y + TITLE + LANE * len(panel.lanes)
    parts = [_text(LEFT - 54, y + 16, f"{panel.title}: {panel.seen}", "")]
    for ms in range(0, int(end_ms) + 1, TICK_MS):
        parts.append(_line("axis", x(ms), top, bottom))
        parts.append(_text(x(ms), bottom + 15, f"{ms} ms" if ms else "0", "quiet", 'text-anchor="middle"'))
    for number, lane in enumerate(panel.lanes):
        middle = top + LANE * number + LANE // 2
        parts.append(_text(LEFT - 54, middle + 4, f"call {number}", "quiet"))
        for stretch in lane:
            until_ms = min(stretch.ended_ms, max(panel.at_ms, stretch.began_ms))
            for kind, begins, ends in (
                (_kind(stretch), x(stretch.began_ms), x(until_ms)),
                ("left", x(until_ms), x(stretch.ended_ms)),
            ):
                if ends > begins:
                    size = f'width="{round(ends - begins, 1)}" height="{BAR}"'
                    parts.append(f'<rect class="{kind}" x="{begins}" y="{middle - BAR // 2}" {size}/>')
        parts.append(_text(x(lane[-1].ended_ms) + 8, middle + 4, _words(lane, panel.at_ms), "quiet"))
    if panel.timeout_ms <= end_ms:
        parts.append(_line("deadline", x(panel.timeout_ms), top - 4, bottom))
    if panel.at_ms <= end_ms:
        parts.append(_line("answer", x(panel.at_ms), top - 4, bottom))
    return parts, bottom + AXIS + GAP


def _kind(stretch: Stretch) -> str:
    return "tidy" if stretch.what == "cleans up" else _ENDS[stretch.end][0]


def _words(lane: Sequence[Stretch], at_ms: float) -> str:
    """What became of a call."""
    last = lane[-1]
    if at_ms < last.ended_ms < MAX_MS or (last.end == ">" and at_ms < MAX_MS):
        return "runs on after the answer"
    if last.what == "cleans up":
        return "clean-up cut off" if last.end == "X" else "clean-up done"
    times = sum(stretch.end == "X" for stretch in lane)
    if times > 1:
        return f"cancelled {times} times"
    return ("cancelled once, " if times and last.end != "X" else "") + _ENDS[last.end][1]


def _line(kind: str, x: float, top: int, bottom: int) -> str:
    return f'<line class="{kind}" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>'


def _text(x: float, y: float, text: str, kind: str, more: str = "") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}"{" " + more if more else ""}>{escape(text)}</text>'
