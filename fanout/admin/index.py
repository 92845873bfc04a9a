"""`/`: what the admin listener has, and the settings in effect. Made once, at the start (G12)."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from importlib import resources
from typing import Final

import jinja2

import fanout
from fanout.config import Settings

_FILES: Final = resources.files("fanout.admin") / "static"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the admin listener, as the index links it."""

    path: str
    title: str
    about: str


# A test asks for each of them.
PAGES: Final = (
    Page("/live", "Live page", "Requests as they happen: which call won, and what cancelled the others."),
    Page("/metrics", "Metrics", "For Prometheus: numbers over time."),
    Page("/statistics", "Statistics", "The same numbers now, as one JSON document."),
    Page("/tasks", "Tasks", "The tree of tasks now; with ?request=ID, of one request."),
    Page("/config", "Configuration", "The settings below as JSON, as fanout config --json prints them."),
    Page("/livez", "Liveness", "It answers while the event loop runs."),
    Page("/readyz", "Readiness", "503 until the server has started, and while it shuts down."),
)


DEMO_PAGES: Final = (
    Page("/lab", "Lab", "Every guarantee as an experiment, recorded, and a race to step through."),
)


def index_page(settings: Settings, more_pages: Container[str] = ()) -> bytes:
    """The page, in HTML. more_pages: paths of those that only the demo has."""
    pages = [*PAGES, *(page for page in DEMO_PAGES if page.path in more_pages)]
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((_FILES / "index.html").read_text("utf-8"))
    text = template.render(version=fanout.__version__, pages=pages, settings=settings.shown())
    return text.encode("utf-8")


def index_style() -> bytes:
    """Its style sheet."""
    return (_FILES / "index.css").read_bytes()
