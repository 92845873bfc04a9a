"""The live page of a running program, in a real browser, for tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fanout.testing import Program
from tests.admin.chromium import Page, open_page
from tests.forked import running

FREE = ["--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]
SLOW = ["--reliable", "--min-delay-ms", "400", "--max-delay-ms", "500"]
KEYS = {
    "Enter": 13,
    "Escape": 27,
    "ArrowDown": 40,
    "ArrowUp": 38,
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "Tab": 9,
}


@asynccontextmanager
async def live_page(*arguments: str) -> AsyncIterator[tuple[Program, Page]]:
    """A running program, and its page. At the end nothing was red, and nothing was asked of another host."""
    with running(*arguments, *FREE) as program:
        async with open_page() as page:
            await page.open(f"{program.urls['live']}/live")
            await page.wait_until("document.querySelector('#connection').dataset.state === 'live'")
            yield program, page
            assert page.complaints == [], page.complaints
            assert {"/".join(url.split("/")[:3]) for url in page.requested} == {program.urls["live"]}


async def press(page: Page, key: str) -> None:
    code = KEYS[key]
    text = {"text": "\r"} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        await page.command(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=key,
            windowsVirtualKeyCode=code,
            **(text if kind == "keyDown" else {}),
        )


async def text_of(page: Page, selector: str) -> str:
    text: str = await page.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
    return " ".join(text.split())


async def fire(page: Page, **order: Any) -> None:
    await page.evaluate(
        "fetch('live/control/fire', {method: 'POST', headers: {'Content-Type': 'application/json', "
        f"'X-Fanout-Live': '1'}}, body: JSON.stringify({json.dumps(order)})}})"
    )


async def look(page: Page, width: int, height: int, scheme: str = "light", scale: int = 1) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
    await page.command("Emulation.setDeviceMetricsOverride", **size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    await page.command("Emulation.setEmulatedMedia", features=[feature])
