"""`/openapi.json`, and `/docs` for people: a page made from that document, with forms to try the endpoints.

The page is our own, and small, instead of a vendored viewer of megabytes: no answer of the public
listener may be so large that a client that does not read can hold it up.

Rule 1: everything is made once, at the start, and served from memory. No request reads a file (G12).
Rule 2: the page works without a script, without the network, and under the policy below.
"""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import TYPE_CHECKING, Final

import jinja2
import trio
from quart import Blueprint
from quart_trio.wrappers import TrioResponse as Response

from fanout.api.documentation.openapi import make_document
from fanout.api.documentation.schemas import Json

if TYPE_CHECKING:
    from fanout.api.handlers import Races

# data: is for the empty icon, which keeps browsers from asking for /favicon.ico.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "img-src data:; base-uri 'none'; frame-ancestors 'none'"
)
_FILES: Final = resources.files("fanout.api.documentation") / "static"


def make_docs(races: Races) -> Blueprint:
    """The pages of a server that runs these races."""
    docs = Blueprint("docs", __name__)
    contents = _contents(
        len(races.calls), races.default_timeout_ms, races.max_timeout_ms, races.deadline_header
    )
    for path, (content_type, content) in contents.items():
        docs.add_url_rule(path, path.replace(".", "_"), _view(content_type, content))
    return docs


@functools.cache  # a process has one set of settings; its tests make many apps
def _contents(
    calls: int, default_timeout_ms: int, max_timeout_ms: int, deadline_header: str
) -> dict[str, tuple[str, bytes]]:
    """Content type and content by path."""
    document = make_document(calls, default_timeout_ms, max_timeout_ms, deadline_header)
    return {
        "/openapi.json": ("application/json", json.dumps(document).encode("ascii")),
        "/docs": ("text/html; charset=utf-8", _page(document).encode("utf-8")),
        "/docs/docs.css": ("text/css; charset=utf-8", (_FILES / "docs.css").read_bytes()),
        "/docs/docs.js": ("text/javascript; charset=utf-8", (_FILES / "docs.js").read_bytes()),
    }


def _view(content_type: str, content: bytes) -> Callable[[], Awaitable[Response]]:
    async def view() -> Response:
        await trio.lowlevel.checkpoint()
        response = Response(content, content_type=content_type)
        response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return view


def _page(document: Json) -> str:
    def resolve(node: Json) -> Json:
        """What a reference stands for; anything else is returned as it is."""
        if "$ref" not in node:
            return node
        names = node["$ref"].removeprefix("#/").split("/")
        found: Json = functools.reduce(operator.getitem, names, document)
        return found

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["resolve"] = resolve
    environment.filters["json"] = json.dumps
    return environment.from_string((_FILES / "page.html").read_text("utf-8")).render(document)
