"""docs/performance.md, made from docs/figures/performance.json and the prose, performance.md beside this file.

A line `<!-- section: NAME -->` of the prose becomes that section: its plot, text, figures, and when, where
and with what they were measured. Needs nothing but the standard library and fanout itself, so a test can hold
the page to its figures.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from benchmarks.section import Section
from benchmarks.sections import SECTIONS

ROOT: Final = Path(__file__).parents[1]
PROSE: Final = Path(__file__).with_name("performance.md")
PAGE: Final = ROOT / "docs/performance.md"
FIGURES: Final = ROOT / "docs/figures/performance.json"
IMAGES: Final = ROOT / "docs/images"
_MARK: Final = re.compile(r"^<!-- section: (\S+) -->$", re.MULTILINE)

Figures = dict[str, Any]  # by section: {"measured": how, "found": what}


def load() -> Figures:
    figures: Figures = json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}
    return figures


def save(figures: Figures) -> None:
    """In the order of the page, whenever each was measured."""
    ordered = {name: figures[name] for name in SECTIONS if name in figures}
    FIGURES.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")


def page(figures: Figures) -> str:
    """The whole page. Raises `KeyError` for a mark without a section."""
    return _MARK.sub(lambda mark: _shown(SECTIONS[mark[1]], figures.get(mark[1])), PROSE.read_text("utf-8"))


def marks() -> list[str]:
    return _MARK.findall(PROSE.read_text("utf-8"))


def image(name: str) -> Path:
    return IMAGES / f"performance-{name}.svg"


def _shown(section: Section, entry: Any) -> str:
    if entry is None:
        return f"## {section.TITLE}\n\nNot measured yet."
    parts = [f"## {section.TITLE}"]
    if hasattr(section, "plot"):
        parts.append(f"![{section.TITLE}](images/{image(section.NAME).name})")
    parts += [section.render(entry["found"]).strip(), _measured(section.NAME, entry)]
    return "\n\n".join(parts)


def _measured(name: str, entry: Any) -> str:
    how = entry["measured"]
    before, after = how["load_before"], how["load_after"]
    short = " **A short run, to try the benchmark: not to be quoted.**" if how["short"] else ""
    return (
        f'*`make bench ARGS="--only {name}"`, {how["date"]}, commit {how["commit"]}, Python {how["python"]}; '
        f"{how['machine']}; load average {before:.1f} before and {after:.1f} after; {how['where']}; "
        f"upstream: {entry['found'].get('upstream', 'none')}.*{short}"
    )
