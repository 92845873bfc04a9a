"""A small line chart as inline SVG. Colours come from the page's CSS classes `s0` … `s3`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

_WIDTH, _HEIGHT = 860, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 40


@dataclass(frozen=True, slots=True)
class Line:
    """One named curve; points are (x, y) in the chart's own units, x never decreasing."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """What to draw. Both axes start at 0. `x_ticks` are (place, label); without any, round numbers."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    x_ticks: Sequence[tuple[float, str]] = ()


def svg_of(chart: Chart) -> str:
    """The chart with axes, grid and legend; a note in its place when there is nothing to draw."""
    points = [point for line in chart.lines for point in line.points]
    if not points:
        return f"<h2>{escape(chart.title)}</h2><p>Nothing to show.</p>"
    y_ticks = _round_ticks(max(y for _, y in points))
    x_ticks = chart.x_ticks or [(x, f"{x:g}") for x in _round_ticks(max(x for x, _ in points))]
    to_x = _scale(max(max(x for x, _ in points), 1e-9), _LEFT, _WIDTH - _RIGHT)
    to_y = _scale(y_ticks[-1], _HEIGHT - _BOTTOM, _TOP)
    right, floor_y = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(chart.title)}">']
    for y in y_ticks:
        parts.append(f'<path class="grid" d="M{_LEFT} {to_y(y):.1f}H{right}"/>')
        parts.append(_text(_LEFT - 6, to_y(y) + 4, "end", f"{y:g}"))
    for x, label in x_ticks:
        if to_x(x) <= right + 0.5:
            parts.append(f'<path class="grid" d="M{to_x(x):.1f} {_TOP}V{floor_y}"/>')
            parts.append(_text(to_x(x), floor_y + 16, "middle", label))
    for number, line in enumerate(chart.lines):
        path = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in line.points)
        title = f"<title>{escape(line.name)}</title>"
        parts.append(f'<polyline class="s{number}" points="{path}">{title}</polyline>')
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 6, "middle", chart.x_label))
    legend = "".join(
        f'<span class="key"><i class="s{number}"></i>{escape(line.name)}</span>'
        for number, line in enumerate(chart.lines)
    )
    return f"<h2>{escape(chart.title)}</h2><p>{escape(chart.y_label)} {legend}</p>{''.join(parts)}</svg>"


def _text(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _scale(highest: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (end - start) * value / highest


def _round_ticks(highest: float) -> list[float]:
    """0 and up in steps of 1, 2 or 5 times a power of ten; the last is not below `highest`."""
    highest = max(highest, 1e-6)
    power: float = 10.0 ** floor(log10(highest / 4))
    step = next(power * times for times in (1, 2, 5, 10) if power * times * 5 >= highest)
    ticks = [0.0]
    while ticks[-1] < highest:
        ticks.append(round(len(ticks) * step, 9))
    return ticks
