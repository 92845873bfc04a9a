"""Every page for people, on a desktop and a phone, light and dark: accessible, and asking no other host.

Also the index of the admin listener, the settings it shows, and the pictures of the documents.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fanout.admin.index import DEMO_PAGES, PAGES
from fanout.config import load
from fanout.testing import Program
from tests.admin.chromium import Page, open_page
from tests.admin.live_page import fire, look
from tests.axe import needs_axe, violations
from tests.blackbox.conftest import request
from tests.forked import running
from tests.lacking import needs
from tests.pictures import picture

FREE = ("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0")
DEVICES = {"desktop": (1280, 800), "phone": (360, 740)}
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def demo() -> Iterator[Program]:
    with running("demo", *FREE, "--reliable", "--max-delay-ms", "200") as program:
        yield program


@asynccontextmanager
async def opened(url: str, device: str) -> AsyncIterator[Page]:
    """The page in a browser. At the end nothing was red, and nothing was asked of another host."""
    async with open_page() as page:
        await look(page, *DEVICES[device])
        await page.open(url)
        yield page
        assert page.complaints == []
        assert {"/".join(asked.split("/")[:3]) for asked in page.requested} == {"/".join(url.split("/")[:3])}


async def use_docs(page: Page) -> None:
    """Everything folded out, and an answer."""
    await page.click("#first button")
    await page.wait_until("document.querySelector('#first .calls').children.length === 2")
    await page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")


async def use_index(page: Page) -> None:
    """There is nothing to use but links."""


async def use_live(page: Page) -> None:
    """Requests of two kinds."""
    await fire(page, count=3)
    await fire(page, endpoint="all", timeout_ms=50)
    await page.wait_until(
        "document.querySelector('#rows tr.answered') && document.querySelector('tr.failed')"
    )


async def use_receipt(page: Page) -> None:
    await use_live(page)
    await page.evaluate("document.querySelector('#rows tr.answered button').click()")
    await page.wait_until("document.querySelector('dialog').open")


async def use_lab(page: Page) -> None:
    """A race in which the client disconnects, one iteration later."""
    await page.wait_until("document.body.dataset.state === 'ready'")
    await page.evaluate("document.querySelector('#player [data-point]').click()")


async def use_lab_sheet(page: Page) -> None:
    await page.wait_until("document.body.dataset.state === 'ready'")
    await page.click("#matrix td button")
    await page.wait_until("document.querySelector('dialog').open")


# How each page is used, by the listener and the path of its address.
USES: dict[str, tuple[str, str, Callable[[Page], Awaitable[None]]]] = {
    "docs": ("api", "/docs", use_docs),
    "index": ("admin", "/", use_index),
    "lab": ("admin", "/lab", use_lab),
    "lab sheet": ("admin", "/lab", use_lab_sheet),
    "live": ("admin", "/live", use_live),
    "receipt": ("admin", "/live", use_receipt),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", USES)
@pytest.mark.same_on_every_python
@needs("chromium")
@needs_axe
async def test_no_page_in_use_violates_wcag(demo: Program, name: str, device: str) -> None:
    """WCAG 2.2 AA, as far as a program can tell. No console error, and no request leaves the host."""
    listener, path, use = USES[name]
    async with opened(demo.urls[listener] + path, device) as page:
        await use(page)
        for scheme in SCHEMES:
            await look(page, *DEVICES[device], scheme)
            assert await violations(page) == [], scheme
        sticks_out_px = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.evaluate(sticks_out_px) == 0


@pytest.mark.same_on_every_python
@needs("chromium")
@needs_axe
async def test_what_violates_wcag_is_found(demo: Program) -> None:
    """Else the test above could not fail: faint text, a field without a name, targets that are too small."""
    async with opened(demo.urls["admin"], "desktop") as page:
        await page.evaluate(
            "document.querySelector('main').insertAdjacentHTML('beforeend', '<p id=\"faint\">faint</p><input>"
            '<p id="small"><button>x</button><button>y</button></p>\');'
            "document.querySelector('#faint').style.color = '#999';"
            "for (const button of document.querySelectorAll('#small button'))"
            " Object.assign(button.style, {padding: 0, border: 0, width: '9px', height: '9px'})"
        )
        found = await violations(page)
    assert {each.partition(":")[0] for each in found} == {
        "color-contrast",
        "label",
        "target-size",
    }


# --- the index of the admin listener


def test_the_index_links_every_page(demo: Program) -> None:
    """A page that is not there, or not linked, is found."""
    index = request(demo.urls["admin"], "/")
    assert (index.status, index.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert index.headers["content-security-policy"].startswith("default-src 'none';")
    linked = re.findall(r'<a href="([^"]+)">', index.body.decode())
    pages = [*PAGES, *DEMO_PAGES]
    assert [f"/{path}" for path in linked] == [page.path for page in pages]
    types = {page.path: request(demo.urls["admin"], page.path).headers["content-type"] for page in pages}
    assert types == {
        "/live": "text/html; charset=utf-8",
        "/metrics": "text/plain; version=0.0.4; charset=utf-8",
        "/statistics": "application/json",
        "/tasks": "text/plain; charset=utf-8",
        "/config": "application/json",
        "/livez": "text/plain; charset=utf-8",
        "/readyz": "text/plain; charset=utf-8",
        "/lab": "text/html; charset=utf-8",
    }


def test_the_lab_is_a_page_of_the_demo_and_of_no_other_server(demo: Program) -> None:
    page = request(demo.urls["admin"], "/lab")
    paths = re.findall(r'(?:href|src)="(lab/[^"]+)"', page.body.decode())
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "cross-origin-resource-policy" in page.headers
    assert {"lab/base.css", "lab/lab.css", "lab/lab.js", "lab/results.json"} == set(paths)
    for path in paths:
        assert request(demo.urls["admin"], f"/{path}").status == 200
    with running("serve", *FREE, "--upstream", "http://127.0.0.1:1/x", "--log-level", "error") as server:
        for path in ("lab", *paths):
            assert request(server.urls["admin"], f"/{path}").status == 404
        assert 'href="lab"' not in request(server.urls["admin"], "/").body.decode()


def test_the_settings_are_those_of_the_command_and_no_secret_is_shown() -> None:
    environment = {
        "FANOUT_UPSTREAMS": "http://user:pass-word@127.0.0.1:1/?key=hidden",
        "FANOUT_RESERVE_MS": "30",
    }
    with running("serve", *FREE, "--log-level", "error", environment=environment) as program:
        shown = request(program.urls["admin"], "/config").json
        index = request(program.urls["admin"], "/").body.decode()
    printed = load(environment, {"bind": FREE[1], "admin_bind": FREE[3], "log_level": "error"})
    assert shown == printed.settings.shown()
    assert shown["FANOUT_RESERVE_MS"] == {"value": 30, "source": "FANOUT_RESERVE_MS"}
    assert shown["FANOUT_UPSTREAMS"]["value"] == ["http://***@127.0.0.1:1/?key=***"]
    for row in shown.values():
        assert row["source"] in index
    assert "http://***@127.0.0.1:1/?key=***" in index
    assert not {word for word in ("user:", "pass-word", "hidden") if word in index + str(shown)}


# --- the pictures of the documents


@pytest.mark.same_on_every_python
@needs("chromium")
async def test_the_pictures_of_docs_and_the_index(demo: Program, tmp_path: Path) -> None:
    async with opened(demo.urls["api"] + "/docs", "desktop") as page:
        await look(page, 1180, 650)
        await page.click("#first button")
        await page.wait_until("document.querySelector('#first .calls').children.length === 2")
        await page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
        await picture(page, tmp_path, "docs")
    async with opened(demo.urls["admin"], "desktop") as page:
        await look(page, 1180, 650)
        await picture(page, tmp_path, "admin")
