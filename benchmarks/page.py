"""docs/performance.md, made from docs/figures/performance.json and the prose in performance.md next to this.

A line `<!-- section: NAME -->` of the prose becomes that section: its plot, text, figures, and when, where
and with what they were measured. `<!-- summary -->` becomes what is better and what is worse than the best
peer, `<!-- glance -->` the table of all comparisons, `<!-- servers -->` the list of the servers, `[[NAME]]` a
figure (`QUOTED`). Other documents quote the same figures between `<!-- figure: NAME -->` and `<!-- end -->`.
Every verdict and ratio is computed here from the samples. A figure with a remark ("not trusted: …") stands
nowhere without it. Needs nothing but the standard library and fanout itself, so a test can hold the page to
its figures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import Any, Final, NamedTuple

from benchmarks import provenance
from benchmarks.comparison import (
    LEAST_MARGIN,
    MARGIN_OF_ONE,
    STANDARD_ERRORS,
    Comparison,
    Verdict,
)
from benchmarks.contenders import FANOUT_NAME, GO_NAME, WHAT
from benchmarks.section import Section, remarked, rows
from benchmarks.sections import SECTIONS, disconnect, huge_pages
from benchmarks.varied import SHORTEST

Figures = dict[str, Any]  # by section: {"measured": how, "found": what, "digest": of both}

ROOT: Final = Path(__file__).parents[1]
PROSE: Final = Path(__file__).with_name("performance.md")
PAGE: Final = ROOT / "docs/performance.md"
FIGURES: Final = ROOT / "docs/figures/performance.json"
USUAL: Final = [name for name, section in SECTIONS.items() if not hasattr(section, "ON_REQUEST")]
CPU: Final = "CPU per useful answer, `first` at 500/s"
GOODPUT: Final = "goodput in answers per second, 1,000 clients"
IN_FLIGHT: Final = "memory of a request in flight"
IDLE: Final = "memory of an idle process"
OF_README: Final = (
    CPU,
    "CPU per useful answer, `all` at 500/s",
    GOODPUT,
    "added latency at 100/s, p50",
    IN_FLIGHT,
    IDLE,
)
IMAGES: Final = ROOT / "docs/images"
SHORT_RUN: Final = "a short run, not to be quoted"
OF_CHANGED_FILES: Final = "of files that are not committed"


class Quote(NamedTuple):
    """A figure that texts quote: its value, and what its remarks are taken from.

    sections: those that it is computed from. label: of the comparison whose row of fanout it is.
    """

    value: Callable[[Figures], str]
    sections: Sequence[str] = ()
    label: str = ""


QUOTED: Final[dict[str, Quote]] = {
    "cpu_us": Quote(lambda figures: f"{_cpu_us(figures):,.0f}", ["cpu"], CPU),
    "rate_a_core": Quote(lambda figures: f"{0.7e6 / _cpu_us(figures):,.0f}", ["cpu"], CPU),
    "kib": Quote(lambda figures: f"{_kib(figures):.1f}", ["memory"], IN_FLIGHT),
    "mib_5000": Quote(lambda figures: f"{_kib(figures) * 5000 / 1024:,.0f}", ["memory"], IN_FLIGHT),
    "idle_mib": Quote(lambda figures: f"{_labelled(figures, IDLE).value(FANOUT_NAME):.0f}", ["memory"], IDLE),
    "peak": Quote(lambda figures: _labelled(figures, GOODPUT).shown(FANOUT_NAME), ["peak"], GOODPUT),
    "errors": Quote(lambda _: f"{STANDARD_ERRORS:g}"),
    "least_margin": Quote(lambda _: f"{LEAST_MARGIN:.0%}"),
    "margin_of_one": Quote(lambda _: f"{MARGIN_OF_ONE:.0%}"),
    "shortest": Quote(lambda _: f"{SHORTEST:.0%}"),
    "minutes": Quote(lambda figures: _minutes(figures, *USUAL), USUAL),
    "minutes_newest": Quote(lambda figures: _minutes(figures, "newest"), ["newest"]),
    "minutes_cpu_peak": Quote(lambda figures: _minutes(figures, "cpu", "peak"), ["cpu", "peak"]),
    "huge_pages": Quote(lambda figures: huge_pages.of_fanout(figures["huge_pages"]["found"]), ["huge_pages"]),
    "disconnect": Quote(lambda figures: f"\n\n{_disconnect(figures)}\n\n"),
    "glance": Quote(lambda figures: f"\n\n{_glance(figures, OF_README)}\n\n"),
    "summary": Quote(lambda figures: f"\n\n{_summary(figures)}\n\n"),
}
QUOTING: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_MARK: Final = re.compile(r"^<!-- section: (\S+) -->$", re.MULTILINE)
_QUOTE: Final = re.compile(r"\[\[(\w+)\]\]")
_QUOTED: Final = re.compile(r"(?<=<!-- figure: )(\w+)( -->).*?(?=<!-- end -->)", re.DOTALL)


def load(path: Path = FIGURES) -> Figures:
    return provenance.load(path)


def in_order(figures: Figures) -> Figures:
    """That of the page, whenever each was measured."""
    return {name: figures[name] for name in SECTIONS if name in figures}


def page(figures: Figures) -> str:
    """The whole page. Raises `KeyError` for a mark without a section, and for a section without figures."""
    text = PROSE.read_text("utf-8")
    text = text.replace("<!-- glance -->", _glance(figures)).replace("<!-- servers -->", _servers())
    text = text.replace("<!-- summary -->", _summary(figures))
    text = _QUOTE.sub(lambda mark: quote(mark[1], figures), text)
    return _MARK.sub(lambda mark: _shown(SECTIONS[mark[1]], figures[mark[1]]), text)


def quoted(document: str, figures: Figures) -> str:
    """A document with these figures where it quotes one. Raises `KeyError` for a name not in `QUOTED`."""
    return _QUOTED.sub(lambda mark: f"{mark[1]}{mark[2]}{quote(mark[1], figures)}", document)


def quote(name: str, figures: Figures) -> str:
    """The figure, with its remarks. Raises `KeyError` for a name not in `QUOTED`."""
    value, sections, label = QUOTED[name]
    own = _labelled(figures, label).remark(FANOUT_NAME) if label else ""
    remarks = own or _of_run(*(figures[each] for each in sections))
    return remarked(value(figures), remarks)


def write(figures: Figures) -> None:
    """The page, and the figures that other documents quote."""
    PAGE.write_text(page(figures), "utf-8")
    for path in QUOTING:
        path.write_text(quoted(path.read_text("utf-8"), figures), "utf-8")


def marks() -> list[str]:
    return _MARK.findall(PROSE.read_text("utf-8"))


def image(name: str) -> Path:
    return IMAGES / f"performance-{name}.svg"


# --- what is better, what is worse


def compared(figures: Figures) -> Iterator[tuple[Section, Comparison]]:
    """Every comparison of the page, in its order, with the remarks of the run that it comes from."""
    for name, section in SECTIONS.items():
        if hasattr(section, "compared"):
            for comparison in section.compared(figures[name]["found"]):
                if comparison.peers():
                    yield section, replace(comparison, of_run=_of_run(figures[name]))


def _of_run(*entries: Any) -> str:
    """What must be known of all figures of these runs."""
    short = any(entry["measured"]["short"] for entry in entries)
    changed = any(entry["measured"].get("changed") for entry in entries)
    return "; ".join([SHORT_RUN] * short + [OF_CHANGED_FILES] * changed)


def _labelled(figures: Figures, label: str) -> Comparison:
    return next(comparison for _, comparison in compared(figures) if comparison.label == label)


def _glance(figures: Figures, only: Sequence[str] = ()) -> str:
    found = {comparison.label: comparison for _, comparison in compared(figures)}
    cells = []
    for label in only or found:
        one = found[label]
        best, go = one.best_peer(), one.go()
        row = [label, one.shown(one.ours), *one.cell(best, named=True), *one.cell(go)]
        cells.append([*row, one.all_remarks(one.ours, best, go)])
    return rows(["", FANOUT_NAME, "best peer in Python", "ratio", GO_NAME, "ratio", ""], cells)


def _summary(figures: Figures) -> str:
    against: dict[str, Callable[[Comparison], str | None]] = {
        "the best peer in Python": Comparison.best_peer,
        GO_NAME: Comparison.go,
    }
    orders: dict[Verdict, str] = {
        "worse": "fanout is worse than",
        "no clear difference": "fanout is neither clearly better nor clearly worse than",
        "better": "fanout is better than",
        "not known": "Not known, because a figure is not trusted, of fanout and",
    }
    parts = []
    for title, of in against.items():
        for verdict, words in orders.items():
            if lines := list(_lines(figures, of, verdict)):
                parts += [f"**{words} {title}:**", "\n".join(lines)]
    return "\n\n".join(parts)


def _lines(figures: Figures, peer_of: Callable[[Comparison], str | None], verdict: Verdict) -> Iterator[str]:
    """One for each section in which fanout is that: what of it, and the ratio with all remarks."""
    by_section: dict[str, list[str]] = {}
    for section, one in compared(figures):
        peer = peer_of(one)
        if peer is not None and one.verdict(peer) == verdict:
            what = one.label.removeprefix(section.TITLE).lstrip(", ")
            by_section.setdefault(section.TITLE, []).append(f"{what} {one.against(peer)}")
    for title, found in by_section.items():
        yield fill(
            f"* [{title}](#{_anchor(title)}): {'; '.join(found)}",
            110,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _disconnect(figures: Figures) -> str:
    entry = figures["disconnect"]
    return "\n\n".join(filter(None, (disconnect.in_short(entry["found"]), _of_run(entry))))


def _minutes(figures: Figures, *names: str) -> str:
    return f"{sum(figures[name]['measured']['took_s'] for name in names) / 60:.0f} minutes"


def _servers() -> str:
    return "\n".join(f"* **{name}**: {what}" for name, what in WHAT.items())


def _cpu_us(figures: Figures) -> float:
    return _labelled(figures, CPU).value(FANOUT_NAME)


def _kib(figures: Figures) -> float:
    return _labelled(figures, IN_FLIGHT).value(FANOUT_NAME)


def _shown(section: Section, entry: Any) -> str:
    parts = [f"## {section.TITLE}"]
    if hasattr(section, "plot"):
        parts.append(f"![{section.TITLE}](images/{image(section.NAME).name})")
    parts += [*section.render(entry["found"]).strip().split("\n\n"), _measured(entry)]
    return "\n\n".join(part if part[0] in "|!#" else _filled(part) for part in parts)


def _filled(paragraph: str) -> str:
    return fill(paragraph, 110, break_long_words=False, break_on_hyphens=False)


def _measured(entry: Any) -> str:
    how = entry["measured"]
    remark = _of_run(entry)
    warning = f" **{remark[0].upper()}{remark[1:]}.**" if remark else ""
    return (
        f"*`{how['command']}`, {how['date']}, commit {how['commit']}, tree {how['tree']}, "
        f"Python {how['python']}; {how['machine']}; load average {how['load_before']:.1f} before and "
        f"{how['load_after']:.1f} after; {how['where']}; upstream: "
        f"{entry['found'].get('upstream', 'none')}.*{warning}"
    )


if __name__ == "__main__":
    write(load())
