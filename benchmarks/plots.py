"""The plots of docs/performance.md: small SVG, the same bytes for the same figures, for light and dark."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_GREY = "#808080"  # stands out from white and from black
_COLOURS = ["#3b82f6", "#93c5fd", "#f59e0b", "#b45309", "#10b981", "#a855f7", "#ef4444", "#14b8a6"]
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
