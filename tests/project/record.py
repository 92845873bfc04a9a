"""docs/record.md: the table and the plot of every published result, made from docs/figures/history.json.

python -m tests.project.record     write both
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

from benchmarks.contenders import FANOUT_NAME
from benchmarks.history import CPU, CPU_PER_REQUEST, LATENCY, MEMORY, PEAK, Record, peer_in, records
from tests.mutation.rooms import ROOMS
from tests.project.figure_sections import killed_share_of

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/record.md"
PLOT: Final = ROOT / "docs/images/record.svg"
SHOWN: Final = {
    CPU: "µs",
    CPU_PER_REQUEST: "µs",
    PEAK: "",
    LATENCY: "ms",
    MEMORY: "KiB",
    "simulated requests": "",
    "runs of the sweep": "",
    "mutants": "",
    "mutants killed, %": "%",
}
"""The figures that are drawn and listed, with their units."""
LISTED: Final = SHOWN | {killed_share_of(room.name): "%" for room in ROOMS}
"""With those that are listed only."""

_BEGINS, _ENDS = "<!-- figures: record -->\n", "<!-- end -->"
_WIDTH, _HEIGHT, _COLUMNS, _TOP, _BOTTOM, _SIDE, _HEAD = 860, 150, 2, 34, 26, 16, 40
_STYLE: Final = """\
  svg { color-scheme: light dark; font: 13px system-ui, sans-serif; background: #fff }
  text { fill: #1f2328 } .quiet { fill: #59636e; font-size: 12px } .name { font-weight: 600 }
  .axis { stroke: #d1d9e0 } .ours { fill: #0969da; stroke: #0969da } .base { fill: #8c959f; stroke: #8c959f }
  polyline { fill: none !important; stroke-width: 2 } .git { fill: #fff }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 } .axis { stroke: #3d444d }
    .ours { fill: #58a6ff; stroke: #58a6ff } .base { fill: #656c76; stroke: #656c76 } .git { fill: #0d1117 }
  }"""


def page(text: str, found: Sequence[Record]) -> str:
    """The document with the table of these records, newest first."""
    before, _, rest = text.partition(_BEGINS)
    _, _, after = rest.partition(_ENDS)
    lines = [
        f"| published (UTC) | of commit | on | figure | {FANOUT_NAME} | best peer in Python |",
        "| --- | --- | --- | --- | --: | --: |",
        *(f"| {' | '.join(row)} |" for record in reversed(found) for row in _rows(record)),
    ]
    return f"{before}{_BEGINS}\n" + "\n".join(lines) + f"\n\n{_ENDS}{after}"


def _rows(record: Record) -> Iterator[list[str]]:
    when = record["at"].replace("T", " ").removesuffix("Z")
    commit = record["commit"] + (f", from git {record['published'][:7]}" if "published" in record else "")
    for name, value in record["figures"].items():
        if name in LISTED:
            peer = peer_in(record["figures"], name)
            of_peer = f"{_with_unit(name, peer[1])} ({peer[0]})" if peer else ""
            yield [when, commit, _model(record), name, _with_unit(name, value), of_peer]


def _with_unit(name: str, value: float) -> str:
    return f"{value:,.5g} {LISTED[name]}".strip() if value < 1e5 else f"{value:,.0f}"


def _model(record: Record) -> str:
    """The machine without its kernel."""
    return str(record["machine"]).partition(", ")[0]


def svg(found: Sequence[Record]) -> str:
    """A plot per figure, on one time axis. A line connects only what was measured on one kind of machine."""
    names = [name for name in SHOWN if any(name in record["figures"] for record in found)]
    wide, high = _WIDTH // _COLUMNS, _TOP + _HEIGHT + _BOTTOM
    height = _HEAD + -(-len(names) // _COLUMNS) * high
    begins, ends = (pick(_at(record) for record in found) for pick in (min, max))
    parts = [
        _text(_SIDE, 24, "Published results", "name"),
        _text(_WIDTH - _SIDE, 24, f"blue: {FANOUT_NAME}; grey: the best peer in Python in the same run; "
              "hollow: taken from the history of git", "quiet", "end"),
    ]  # fmt: skip
    for number, name in enumerate(names):
        left, top = number % _COLUMNS * wide + _SIDE, _HEAD + number // _COLUMNS * high
        parts += _panel(name, found, (begins, ends), (left, top, wide - 2 * _SIDE))
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"',
        ' aria-labelledby="title desc">',
        '<title id="title">Published results</title>',
        f'<desc id="desc">Every result in docs/figures/history.json: {escape("; ".join(names))}</desc>',
        f"<style>\n{_STYLE}\n</style>",
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def _panel(
    name: str, found: Sequence[Record], span: tuple[float, float], place: tuple[int, int, int]
) -> Iterator[str]:
    """span: of time. place: left, top, width."""
    left, top, width = place
    low, high = top + _TOP + _HEIGHT - 10, top + _TOP
    lines = {"base": _peers(found, name), "ours": [record["figures"].get(name) for record in found]}
    most = max(value for values in lines.values() for value in values if value is not None)
    yield _text(left, top + 18, name.replace("`", ""), "name")
    yield _text(left + width, top + 18, f"0 to {_with_unit(name, most)}", "quiet", "end")
    yield f'<line class="axis" x1="{left}" y1="{low}" x2="{left + width}" y2="{low}"/>'
    for place_x, when, anchor in ((left, span[0], "start"), (left + width, span[1], "end")):
        yield _text(place_x, low + 16, f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d}", "quiet", anchor)
    for kind, values in lines.items():
        points = [
            (
                record,
                round(left + 6 + (_at(record) - span[0]) / ((span[1] - span[0]) or 1) * (width - 12), 1),
                round(low - value / (most or 1) * (low - high), 1),
                value,
            )
            for record, value in zip(found, values, strict=True)
            if value is not None
        ]
        for _, alike in groupby(points, key=lambda point: _model(point[0])):
            line = " ".join(f"{x},{y}" for _, x, y, _ in alike)
            yield f'<polyline class="{kind}" points="{line}"/>'
        for record, x, y, value in points:
            origin = " git" if "published" in record else ""
            what = _with_unit(name, value)
            told = escape(f"{record['at']}, commit {record['commit']}, {_model(record)}: {what}")
            yield f'<circle class="{kind}{origin}" cx="{x}" cy="{y}" r="3"><title>{told}</title></circle>'


def _peers(found: Sequence[Record], name: str) -> list[float | None]:
    """Of the peer in each record, `None` where there is none."""
    peers = [peer_in(record["figures"], name) for record in found]
    return [peer[1] if peer else None for peer in peers]


def _at(record: Record) -> float:
    return datetime.strptime(record["at"], "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp()


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8"), records()), "utf-8")
    PLOT.write_text(svg(records()), "utf-8")
