"""docs/images/architecture.svg: the packages, and the way of one request through them.

    python -m tests.project.picture      write it

Drawn from text: the layers of the import contract in setup.cfg, what docs/architecture.md says of each
package, and its table of the hops of a request.
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PICTURE: Final = ROOT / "docs/images/architecture.svg"
ROW, GAP, TOP, LEFT, WIDTH, NAMES, TRACE = 30, 8, 64, 16, 900, 110, 440
_STYLE: Final = """\
  svg { color-scheme: light dark; font: 13px system-ui, sans-serif; background: #fff }
  text { fill: #1f2328 } .quiet { fill: #59636e; font-size: 12px }
  .name { font: 600 13px ui-monospace, monospace }
  .number { fill: #fff; font: 600 11px system-ui, sans-serif }
  .layer { fill: #f3f5f8; stroke: #d1d9e0 } .way { fill: none; stroke: #0969da; stroke-width: 2 }
  .back { stroke-dasharray: 5 4 } .hop { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .layer { fill: #161b22; stroke: #3d444d } .way { stroke: #58a6ff }
    .hop { fill: #58a6ff } .number { fill: #0d1117 }
  }"""


@dataclass(frozen=True, slots=True)
class Row:
    """One package. y: of its middle."""

    package: str
    about: str
    y: int


def layers() -> list[list[str]]:
    """From the top; packages of one layer do not know each other."""
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["importlinter:contract:packages"]["layers"].split("\n")
    return [[name.strip() for name in line.split("|")] for line in lines if line]


def svg() -> str:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    about = dict(re.findall(r"^  (\w+)(?:/|\.py) +([^:;,(\n]+)", text, re.MULTILINE))
    y, rows, boxes = TOP, {}, []
    for layer in layers():
        height = ROW * len(layer)
        boxes.append(
            f'<rect class="layer" x="{LEFT}" y="{y}" width="{WIDTH - 2 * LEFT}" height="{height}" rx="6"/>'
        )
        for package in layer:
            rows[package] = Row(package, about[package].strip(), y + ROW // 2)
            y += ROW
        y += GAP
    hops = re.findall(
        r"^\| (\d+) \| `(\w+)/", text.partition("\n## One request\n")[2].partition("\n## ")[0], re.MULTILINE
    )
    step = (WIDTH - 2 * LEFT - TRACE - 40) // (len(hops) - 1)
    points = [(TRACE + 40 + step * at, rows[package].y, number) for at, (number, package) in enumerate(hops)]
    return _document(y + 34, [*boxes, *_labels(rows), *_way(points)])


def _labels(rows: dict[str, Row]) -> list[str]:
    return [
        part
        for row in rows.values()
        for part in (
            _text(LEFT + 12, row.y + 4, row.package, "name"),
            _text(LEFT + NAMES, row.y + 4, row.about, "quiet"),
        )
    ]


def _way(points: list[tuple[int, int, str]]) -> list[str]:
    """The line from hop to hop; the last one is on the way back."""
    down, back = points[:-1], points[-2:]
    lines = [
        f'<polyline class="{kind}" points="{" ".join(f"{x},{y}" for x, y, _ in some)}"/>'
        for kind, some in (("way", down), ("way back", back))
    ]
    circles = [
        part
        for x, y, number in points
        for part in (
            f'<circle class="hop" cx="{x}" cy="{y}" r="10"/>',
            _text(x, y + 4, number, "number", 'text-anchor="middle"'),
        )
    ]
    (first, at_first, _), (last_down, at_last_down, _), (last, at_last, _) = points[0], *points[-2:]
    ends = [
        _text(first - 10, at_first - 18, "from the client", "quiet"),
        _text(last_down, at_last_down + ROW + 4, "to the upstreams", "quiet", 'text-anchor="middle"'),
        _text(last + 10, at_last - ROW, "to the client", "quiet", 'text-anchor="end"'),
    ]
    return [*lines, *circles, *ends]


def _document(height: int, parts: list[str]) -> str:
    title = "The packages of fanout, and the way of one request through them"
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' role="img" aria-labelledby="title">',
        f'<title id="title">{title}</title>',
        f"<style>\n{_STYLE}\n</style>",
        _text(LEFT, 26, "Imports point downwards, and nothing else", "name"),
        _text(LEFT, 46, "Packages in one box do not know each other.", "quiet"),
        _text(TRACE + 30, 26, "One request, hop by hop", "name"),
        _text(TRACE + 30, 46, "Solid: in, and down to the upstream. Dashed: the answer.", "quiet"),
    ]
    foot = _text(
        LEFT, height - 12, "The numbers are those of the table “One request” in architecture.md.", "quiet"
    )
    return "\n".join([*head, *parts, foot, "</svg>"]) + "\n"


def _text(x: int, y: int, text: str, kind: str, more: str = "") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}"{" " + more if more else ""}>{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(svg(), "utf-8")
