"""`/docs`: complete, small, safe, and working in a real browser with no network."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from typing import Any

import pytest

from fanout.api.documentation.openapi import make_document
from fanout.observe.receipt import CLIENT_DISCONNECTED
from fanout.race.events import CallStarted
from fanout.testing import answers, fails, hangs, run_scenario
from tests.admin.chromium import Page, open_page
from tests.admin.live_page import look, press
from tests.api.serving import serving
from tests.lacking import needs

PATHS = {
    "/docs": "text/html; charset=utf-8",
    "/docs/docs.css": "text/css; charset=utf-8",
    "/docs/docs.js": "text/javascript; charset=utf-8",
    "/openapi.json": "application/json",
}
LARGEST_BYTES = 64 * 1024  # as much as one upstream call may bring: no page is a heavier answer than a race's


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and the text between them."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page() -> Tags:
    return Tags(run_scenario("/docs", [answers(1), answers(1)]).body)


@pytest.mark.parametrize(("path", "content_type"), PATHS.items(), ids=list(PATHS))
def test_each_file_has_its_type_and_a_strict_policy_and_is_small(path: str, content_type: str) -> None:
    replay = run_scenario(path, [])
    assert (replay.status, replay.headers["content-type"]) == (200, content_type)
    assert 0 < len(replay.body) <= LARGEST_BYTES
    policy = replay.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert replay.headers["x-content-type-options"] == "nosniff"


def test_the_page_has_no_inline_code_and_asks_no_other_origin() -> None:
    """The policy would stop both; without them nothing has to be stopped."""
    for tag, attributes in page().tags:
        assert tag != "style"
        assert tag != "script" or attributes["src"]
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            assert "//" not in (value or "")


def test_every_link_within_the_page_has_a_target() -> None:
    tags = page().tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    links = [str(attributes["href"]) for _, attributes in tags if "href" in attributes]
    targets = {link[1:] for link in links if link.startswith("#")}
    assert targets
    assert targets <= set(ids)
    assert len(ids) == len(set(ids))


def test_all_that_the_document_says_in_words_is_on_the_page() -> None:
    """Without a script: for search engines, text browsers and curl."""
    text = " ".join(page().text.split())
    document = make_document(calls=2, default_timeout_ms=1000, max_timeout_ms=30_000)
    said: list[str] = [*document["paths"], *document["components"]["headers"]]

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            said.extend(v for k, v in node.items() if k in ("description", "summary") and isinstance(v, str))
            said.extend(word for word in node.get("enum", []) if word is not None)
            for part in node.values():
                collect(part)

    collect({**document, "components": {**document["components"], "schemas": {}}})
    for name, schema in document["components"]["schemas"].items():
        collect(schema["properties"])
        assert set(schema["properties"]) <= set(text.replace('"', " ").split()), name
    missing = [words for words in said if " ".join(words.split()) not in text]
    assert missing == []
    assert len(said) > 50


@pytest.mark.parametrize("path", ["/api/first", "/api/all"])
def test_a_form_works_without_a_script(path: str) -> None:
    """It is a plain GET of the endpoint, filled in with the default."""
    tags = page().tags
    assert ("form", {"action": path[1:], "method": "get"}) in tags
    inputs = [attributes for tag, attributes in tags if tag == "input"]
    assert [(i["name"], i["value"]) for i in inputs] == [("timeout", "1000")] * 2


def test_a_server_with_other_settings_has_another_page() -> None:
    replay = run_scenario("/docs", [answers(1)] * 3, default_timeout_ms=700, max_timeout_ms=8000)
    assert b"Makes 3 calls" in replay.body
    assert b'value="700"' in replay.body
    assert b"1 to 8000" in replay.body


# --- in a real browser


async def send(page: Page, endpoint: str, typed: str) -> None:
    """Type a timeout into the form of an endpoint and send it, as a person does."""
    await page.evaluate(f"document.querySelector('#{endpoint} input').value = {json.dumps(typed)}")
    await page.click(f"#{endpoint} button")


async def result(page: Page, endpoint: str) -> list[str]:
    """The lines that tell the result, as soon as the form can be sent again."""
    await page.wait_until(f"!document.querySelector('#{endpoint} .result').hidden")
    await page.wait_until(f"!document.querySelector('#{endpoint} button').disabled")
    text: str = await page.evaluate(f"document.querySelector('#{endpoint} .result').innerText")
    return [line for line in text.splitlines() if line]


@pytest.mark.same_on_every_python
@needs("chromium")
async def test_sending_shows_the_answer_and_how_each_call_went() -> None:
    async with serving([answers(300), fails(20)]) as server, open_page() as page:
        await page.open(f"{server.url}/docs")
        await send(page, "first", "20000")
        status, winner, loser, content = await result(page, "first")
        await send(page, "all", "20000")
        every = await result(page, "all")

        bars = "[...document.querySelectorAll('#first .calls span')].map(bar => bar.offsetWidth)"
        longer, shorter = await page.evaluate(bars)
        assert page.complaints == []
        assert {url.partition("/docs")[0].partition("/api")[0] for url in page.requested} == {server.url}

    assert re.fullmatch(r"200 after \d+ ms, request test-\d+", status)
    won = re.fullmatch(r"call 0: won after (\d+\.\d) ms", winner)
    failed = re.fullmatch(r"call 1: failed after (\d+\.\d) ms", loser)
    assert won
    assert failed
    assert content == '{"time": 300}'
    assert every[-1] == '[{"time": 300}]'
    assert longer > 100
    # The bars are as long as the times next to them, to the pixel, however late both calls ended.
    assert shorter == pytest.approx(longer * float(failed[1]) / float(won[1]), abs=1)


@pytest.mark.same_on_every_python
@needs("chromium")
async def test_a_wrong_timeout_shows_the_problem_and_no_timeout_sends_none() -> None:
    async with serving([answers(0), answers(0)]) as server, open_page() as page:
        await page.open(f"{server.url}/docs")
        await send(page, "first", "1e3")
        status, problem = await result(page, "first")
        await send(page, "all", "")
        empty = await result(page, "all")
        requested = page.requested

    assert status.startswith("400 after ")
    assert json.loads(problem)["reason"] == "invalid_timeout"
    assert empty[0].startswith("200 after ")
    assert f"{server.url}/api/all" in requested


@pytest.mark.same_on_every_python
@needs("chromium")
async def test_hanging_up_cancels_the_calls() -> None:
    """G6, for everybody to see: the button closes the connection."""
    calls = [hangs(), hangs()]
    async with serving(calls) as server, open_page() as page:
        await page.open(f"{server.url}/docs")
        await send(page, "first", "30000")
        await server.told(CallStarted, 2)
        await page.click("#first button:nth-of-type(2)")
        (status,) = await result(page, "first")
        await server.ended(CLIENT_DISCONNECTED)
        assert [call.running for call in calls] == [0, 0]

    assert re.fullmatch(r"You disconnected after \d+ ms", status)


@pytest.mark.same_on_every_python
@needs("chromium")
async def test_a_server_that_is_gone_is_told_as_such() -> None:
    async with open_page() as page:
        async with serving([answers(0)]) as server:
            await page.open(f"{server.url}/docs")
        await send(page, "first", "100")
        (status,) = await result(page, "first")
    assert re.fullmatch(r"No answer \(.+\) after \d+ ms", status)


@pytest.mark.same_on_every_python
@needs("chromium")
async def test_copy_as_curl_gives_what_a_shell_can_run() -> None:
    """The clipboard gets the request that the form would send. Without a clipboard its text is selected."""
    async with serving([answers(0)]) as server, open_page() as page:
        await page.command("Emulation.setFocusEmulationEnabled", enabled=True)
        await page.open(f"{server.url}/docs")
        await page.evaluate(
            "const field = document.querySelector('#first input'); field.value = `it's $(1)`;"
            "field.dispatchEvent(new Event('input', {bubbles: true}))"
        )
        await page.click("#first .curl button")
        await page.wait_until("document.querySelector('#first .curl [role=status]').innerText === 'Copied'")
        await page.evaluate("document.querySelector('#all input').select()")
        await page.command("Input.dispatchKeyEvent", type="keyDown", key="v", commands=["paste"])
        pasted = await page.evaluate("document.querySelector('#all input').value")
        await page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        await page.click("#first .curl button")
        await page.wait_until(
            "/keyboard/.test(document.querySelector('#first .curl [role=status]').innerText)"
        )
        selected = await page.evaluate("getSelection().toString()")
    assert shlex.split(pasted) == ["curl", "-i", f"{server.url}/api/first?timeout=it%27s+%24%281%29"]
    assert selected == pasted


@pytest.mark.same_on_every_python
@needs("chromium")
@pytest.mark.parametrize("size", [(1280, 800), (360, 740)], ids=["desktop", "phone"])
async def test_the_navigation_stays_in_view_and_marks_where_you_are(size: tuple[int, int]) -> None:
    async with serving([answers(0)]) as server, open_page() as page:
        await look(page, *size)
        await page.open(f"{server.url}/docs")
        seen = []
        for target in ("about", "all", "problems", "headers", "first"):
            await page.evaluate(
                f"document.getElementById('{target}').scrollIntoView({{behavior: 'instant'}})"
            )
            await page.wait_until(f"document.querySelector('nav [aria-current]').hash === '#{target}'")
            box = "document.querySelector('nav [aria-current]').getBoundingClientRect()"
            seen.append(await page.evaluate(f"(({{x, y}}) => [x, y])({box})"))
    assert all(0 <= x < size[0] and 0 <= y < size[1] for x, y in seen), seen


@pytest.mark.same_on_every_python
@needs("chromium")
async def test_the_first_tab_skips_the_navigation() -> None:
    async with serving([answers(0)]) as server, open_page() as page:
        await page.open(f"{server.url}/docs")
        await press(page, "Tab")
        at = "(({className, offsetTop}) => [className, offsetTop >= 0])(document.activeElement)"
        skip = await page.evaluate(at)
        await press(page, "Enter")
        await press(page, "Tab")
        inside = await page.evaluate("document.activeElement.closest('section').id")
    assert (skip, inside) == (["skip", True], "first")


@pytest.mark.same_on_every_python
@needs("chromium")
async def test_what_is_folded_is_unfolded_by_its_link_and_by_the_keyboard() -> None:
    opened = "[...document.querySelectorAll('details[open]')].map(part => part.querySelector('b').innerText)"
    async with serving([answers(0)]) as server, open_page() as page:
        await page.open(f"{server.url}/docs")
        found = [await page.evaluate(opened)]
        await page.click("#first a[href='#503']")
        await page.wait_until("document.querySelector('details[open]')")
        found.append(await page.evaluate(opened))
        await page.evaluate("document.querySelector('.problem summary').focus()")
        await press(page, "Enter")
        await page.wait_until("document.querySelectorAll('details[open]').length === 2")
        found.append(await page.evaluate(opened))
    assert found == [[], ["503"], ["400", "503"]]


@pytest.mark.same_on_every_python
@needs("chromium")
async def test_the_page_fits_a_phone_and_follows_the_colour_scheme() -> None:
    """Nothing sticks out to the side, even with everything folded out."""
    ground = "getComputedStyle(document.body).backgroundColor"
    async with serving([answers(0)]) as server, open_page() as page:
        await page.command(
            "Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=2, mobile=True
        )
        await page.open(f"{server.url}/docs")
        await send(page, "first", "100")
        await result(page, "first")
        await page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
        width = await page.evaluate("document.documentElement.scrollWidth")
        grounds = []
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            await page.command("Emulation.setEmulatedMedia", features=[feature])
            grounds.append(await page.evaluate(ground))

    assert width == 320
    assert grounds == ["rgb(255, 255, 255)", "rgb(15, 19, 23)"]
