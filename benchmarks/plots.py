"""The plots of docs/performance.md: small SVG, the same bytes for the same figures, for light and dark.

The last line of each is a stamp: from which figures it was drawn, and what was drawn. So a test sees without
drawing it again that a plot belongs to its figures, and that it was not edited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.provenance import digest

_GREY = "#808080"  # stands out from white and from black
_COLOURS = ["#3b82f6", "#93c5fd", "#f59e0b", "#b45309", "#10b981", "#a855f7", "#ef4444", "#14b8a6"]
_STAMP = "<!-- drawn from"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fanout",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _GREY,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.prop_cycle": f"cycler('color', {_COLOURS})",
}


def draw(draw_into: Callable[[dict[str, Any], Any], None], found: dict[str, Any], path: Path) -> None:
    matplotlib = import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = import_module("matplotlib.pyplot")
    with matplotlib.rc_context(_STYLE):
        drawing = pyplot.figure(figsize=(8, 3.6), layout="constrained")
        draw_into(found, drawing)
        drawing.savefig(path, transparent=True, metadata={"Date": None})
        pyplot.close(drawing)
    path.write_text(stamped(path.read_text("utf-8"), found), "utf-8")


def stamped(drawn: str, found: Any) -> str:
    """The drawing with its stamp, instead of one that it may have. found: what it was drawn from."""
    drawn = "".join(line for line in drawn.splitlines(keepends=True) if not line.startswith(_STAMP))
    return f"{drawn}{_STAMP} {digest(found)}, as {hashlib.sha256(drawn.encode()).hexdigest()} -->\n"
