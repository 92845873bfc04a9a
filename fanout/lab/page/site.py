"""The page, as the files it is made of: for `/lab` on the admin listener of the demo, and for `--html DIR`.

Rule 1: the page contains what it shows, as JSON. So it works from a folder, where a browser loads no data.
Rule 2: no file names another host, and a script or style sheet is a file of its own (`POLICY`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

import jinja2

from fanout.admin.live.app import CONTENT_SECURITY_POLICY

Pages = dict[str, tuple[str, bytes]]
"""Content type and content by path. `/lab` is the page; the other paths are below it."""

RESULTS: Final = "/lab/results.json"
# A page in a folder has no header field; in an element, browsers do not know this directive.
POLICY: Final = CONTENT_SECURITY_POLICY.replace("; frame-ancestors 'none'", "")
# One script, in this order: from a folder a browser loads no modules. Each import of theirs is one line.
MODULES: Final = ("dom", "words", "timeline", "sheet", "tiles", "matrix", "lanes", "player", "main")
_COMPACT: Final[dict[str, Any]] = {"separators": (",", ":"), "allow_nan": False}
_OURS: Final = resources.files("fanout.lab.page")
_SHARED: Final = resources.files("fanout.admin.live") / "static"


def recorded_pages() -> Pages:
    """The page with the results that the package contains. `make lab-recorded` writes them."""
    text = (_OURS / "recorded.json").read_text("utf-8")
    return pages_of(json.loads(text), {"live": "live", "admin": "./"})


def pages_of(shown: dict[str, Any], links: Mapping[str, str] | None = None) -> Pages:
    """links: to other pages, by their names."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.policies["json.dumps_kwargs"] = _COMPACT
    template = environment.from_string((_OURS / "static" / "page.html").read_text("utf-8"))
    page = template.render(policy=POLICY, results=shown, links=links or {})
    return {
        "/lab": ("text/html; charset=utf-8", page.encode("utf-8")),
        "/lab/base.css": ("text/css; charset=utf-8", (_SHARED / "base.css").read_bytes()),
        "/lab/lab.css": ("text/css; charset=utf-8", (_OURS / "static" / "lab.css").read_bytes()),
        "/lab/lab.js": ("text/javascript; charset=utf-8", _script().encode("utf-8")),
        RESULTS: ("application/json", json.dumps(shown, **_COMPACT).encode("ascii")),
    }


def _script() -> str:
    """The modules as one script, without their imports and exports: a name means the same in all of them."""
    texts = []
    for name in MODULES:
        folder = _SHARED if name == "dom" else _OURS / "static"
        text = (folder / f"{name}.js").read_text("utf-8")
        text = re.sub(r"^import .*\n", "", text, flags=re.MULTILINE)
        texts.append(re.sub(r"^export (?=const |function |class )", "", text, flags=re.MULTILINE))
    return '"use strict";\n(() => {\n' + "\n".join(texts) + "})();\n"
