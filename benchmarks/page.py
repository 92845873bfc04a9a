"""docs/performance.md, made from docs/figures/performance.json and the prose in performance.md beside this.

A line `<!-- section: NAME -->` of the prose becomes that section: its plot, text, figures, and when, where
and with what they were measured. `<!-- glance -->` becomes the table of the most important ratios,
`<!-- servers -->` the list of the servers, `[[NAME]]` a figure (`QUOTED`). Other documents quote the same
figures between `<!-- figure: NAME -->` and `<!-- end -->`. Needs nothing but the standard
library and fanout itself, so a test can hold the page to its figures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Any, Final

from benchmarks.contenders import BASE_NAME, FANOUT_NAME, WHAT
from benchmarks.section import Section, rows
from benchmarks.sections import SECTIONS, disconnect

Figures = dict[str, Any]  # by section: {"measured": how, "found": what}

ROOT: Final = Path(__file__).parents[1]
PROSE: Final = Path(__file__).with_name("performance.md")
PAGE: Final = ROOT / "docs/performance.md"
FIGURES: Final = ROOT / "docs/figures/performance.json"
USUAL: Final = [name for name, section in SECTIONS.items() if not hasattr(section, "ON_REQUEST")]
OF_README: Final = (
    "CPU per request, `first` at 500/s",
    "goodput in answers per second, 1,000 clients",
    "added latency at 100/s, p50",
    "memory of a request in flight",
)
IMAGES: Final = ROOT / "docs/images"
QUOTED: Final[dict[str, Callable[[Figures], str]]] = {
    "cpu_us": lambda figures: f"{_cpu_us(figures):,.0f}",
    "rate_a_core": lambda figures: f"{0.7e6 / _cpu_us(figures):,.0f}",
    "kib": lambda figures: f"{_kib(figures):.1f}",
    "mib_5000": lambda figures: f"{_kib(figures) * 5000 / 1024:,.0f}",
    "idle_mib": lambda figures: f"{_found(figures, 'memory')['servers'][FANOUT_NAME]['idle_kib'] / 1024:.0f}",
    "peak": lambda figures: _cell(figures, "goodput in answers per second, 1,000 clients"),
    "minutes": lambda figures: _minutes(figures, *USUAL),
    "minutes_newest": lambda figures: _minutes(figures, "newest"),
    "minutes_cpu_peak": lambda figures: _minutes(figures, "cpu", "peak"),
    "disconnect": lambda figures: f"\n\n{disconnect.in_short(_found(figures, 'disconnect'))}\n\n",
    "glance": lambda figures: f"\n\n{_glance(figures, OF_README)}\n\n",
}
QUOTING: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_MARK: Final = re.compile(r"^<!-- section: (\S+) -->$", re.MULTILINE)
_QUOTE: Final = re.compile(r"\[\[(\w+)\]\]")
_QUOTED: Final = re.compile(r"(?<=<!-- figure: )(\w+)( -->).*?(?=<!-- end -->)", re.DOTALL)


def load(path: Path = FIGURES) -> Figures:
    figures: Figures = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return figures


def save(figures: Figures, path: Path = FIGURES) -> None:
    """In the order of the page, whenever each was measured."""
    ordered = {name: figures[name] for name in SECTIONS if name in figures}
    path.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")


def page(figures: Figures) -> str:
    """The whole page. Raises `KeyError` for a mark without a section, and for a section without figures."""
    text = PROSE.read_text("utf-8")
    text = text.replace("<!-- glance -->", _glance(figures)).replace("<!-- servers -->", _servers())
    text = _QUOTE.sub(lambda quote: QUOTED[quote[1]](figures), text)
    return _MARK.sub(lambda mark: _shown(SECTIONS[mark[1]], figures[mark[1]]), text)


def quoted(document: str, figures: Figures) -> str:
    """A document with these figures where it quotes one. Raises `KeyError` for a name not in `QUOTED`."""
    return _QUOTED.sub(lambda mark: f"{mark[1]}{mark[2]}{QUOTED[mark[1]](figures)}", document)


def write(figures: Figures) -> None:
    """The page, and the figures that other documents quote."""
    PAGE.write_text(page(figures), "utf-8")
    for path in QUOTING:
        path.write_text(quoted(path.read_text("utf-8"), figures), "utf-8")


def marks() -> list[str]:
    return _MARK.findall(PROSE.read_text("utf-8"))


def image(name: str) -> Path:
    return IMAGES / f"performance-{name}.svg"


def _glance(figures: Figures, only: Sequence[str] = ()) -> str:
    cells = _glances(figures)
    return rows(["", FANOUT_NAME, BASE_NAME, "ratio"], [cells[label] for label in only or cells])


def _glances(figures: Figures) -> dict[str, list[str]]:
    return {
        row[0]: row
        for name, section in SECTIONS.items()
        if hasattr(section, "glance")
        for row in section.glance(figures[name]["found"])
    }


def _cell(figures: Figures, label: str) -> str:
    return _glances(figures)[label][1]


def _minutes(figures: Figures, *names: str) -> str:
    return f"{sum(figures[name]['measured']['took_s'] for name in names) / 60:.0f}"


def _servers() -> str:
    return "\n".join(f"* **{name}**: {what}" for name, what in WHAT.items())


def _found(figures: Figures, name: str) -> Any:
    return figures[name]["found"]


def _cpu_us(figures: Figures) -> float:
    return float(median(one[FANOUT_NAME]["cpu_us"] for one in _found(figures, "cpu")["rounds"]["first 500"]))


def _kib(figures: Figures) -> float:
    return float(_found(figures, "memory")["servers"][FANOUT_NAME]["kib_a_request"])


def _shown(section: Section, entry: Any) -> str:
    parts = [f"## {section.TITLE}"]
    if hasattr(section, "plot"):
        parts.append(f"![{section.TITLE}](images/{image(section.NAME).name})")
    parts += [*section.render(entry["found"]).strip().split("\n\n"), _measured(section.NAME, entry)]
    return "\n\n".join(part if part[0] in "|!#" else _filled(part) for part in parts)


def _filled(paragraph: str) -> str:
    return fill(paragraph, 110, break_long_words=False, break_on_hyphens=False)


def _measured(name: str, entry: Any) -> str:
    how = entry["measured"]
    before, after = how["load_before"], how["load_after"]
    short = " **A short run, to try the benchmark: not to be quoted.**" if how["short"] else ""
    return (
        f'*`make bench ARGS="--only {name}"`, {how["date"]}, commit {how["commit"]}, Python {how["python"]}; '
        f"{how['machine']}; load average {before:.1f} before and {after:.1f} after; {how['where']}; "
        f"upstream: {entry['found'].get('upstream', 'none')}.*{short}"
    )


if __name__ == "__main__":
    write(load())
