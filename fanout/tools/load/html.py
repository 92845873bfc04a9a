"""A report as one self-contained page: the latency spectrum, the run second by second, the text table.

Nothing is loaded from elsewhere and no script runs. Light or dark follows the reader's system.
"""

from __future__ import annotations

from html import escape
from math import log10

from .outcome import BROKEN_GUARANTEES, Outcome
from .report import Report
from .svg import Chart, Line, svg_of
from .text import text_of, verdict_line

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--grid:#d8dee4;
--s0:#0969da;--s1:#1a7f37;--s2:#b35900;--s3:#cf222e}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--grid:#30363d;
--s0:#58a6ff;--s1:#3fb950;--s2:#e3a03c;--s3:#ff7b72}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
max-width:900px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 0}p{margin:.2rem 0}
svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--ink)}
pre{overflow-x:auto;border:1px solid var(--grid);border-radius:6px;padding:1rem;font-size:12px}
polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}.grid{stroke:var(--grid);stroke-width:1}
.s0{stroke:var(--s0);background:var(--s0)}.s1{stroke:var(--s1);background:var(--s1)}
.s2{stroke:var(--s2);background:var(--s2)}.s3{stroke:var(--s3);background:var(--s3)}
.key{margin-left:1em}.key i{display:inline-block;width:1em;height:3px;margin-right:.4em;vertical-align:middle}
"""
_MARKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999)


def html_of(report: Report) -> str:
    """The page."""
    charts = (_spectrum(report), _fates(report), _latencies(report))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>fanout load: {escape(report['plan']['url'])}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>fanout load</h1><p>{escape(report['started_at'])} · {escape(verdict_line(report))}</p>\n"
        + "\n".join(svg_of(chart) for chart in charts)
        + f"\n<h2>In figures</h2><pre>{escape(text_of(report))}</pre>\n</body></html>\n"
    )


def _spectrum(report: Report) -> Chart:
    shown = [name for name in ("answered", "useful", "refused", "late") if name in report["spectrum"]]
    lines = []
    for name in shown:
        points = [(point["percentile"], point["latency_ms"]) for point in report["spectrum"][name]["points"]]
        lines.append(Line(name, [(_nines(share), ms) for share, ms in points if share < 100]))
    ticks = [(_nines(mark), f"{mark:g} %") for mark in _MARKS]
    below = "share of answers at most this slow"
    return Chart("Latency by percentile", below, "ms from intended start", lines, ticks)


def _nines(percentile: float) -> float:
    """0 at 0 %, 1 at 90 %, 2 at 99 %, and so on."""
    return -log10(1 - percentile / 100)


def _fates(report: Report) -> Chart:
    def line(name: str, outcomes: tuple[Outcome, ...]) -> Line:
        return Line(
            name,
            [
                (second["second"], sum(second["outcomes"].get(outcome, 0) for outcome in outcomes))
                for second in report["seconds"]
            ],
        )

    offered = Line("offered", [(second["second"], second["offered"]) for second in report["seconds"]])
    lines = [
        offered,
        line("useful", (Outcome.USEFUL,)),
        line("refused", (Outcome.REFUSED,)),
        line("late or broken", BROKEN_GUARANTEES),
    ]
    return Chart("What became of each second's requests", "second of the intended start", "requests", lines)


def _latencies(report: Report) -> Chart:
    useful = [second for second in report["seconds"] if second["outcomes"].get(Outcome.USEFUL)]
    lines = [
        Line("p50", [(second["second"], second["p50_ms"]) for second in useful]),
        Line("p99", [(second["second"], second["p99_ms"]) for second in useful]),
    ]
    title = "Latency of useful answers, second by second"
    return Chart(title, "second of the intended start", "ms from intended start", lines)
