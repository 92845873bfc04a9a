"""How `/live` looks: contrast, phones, motion, and the pictures of the documents."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from tests.admin.live_page import SLOW, fire, live_page, look, press
from tests.lacking import needs
from tests.pictures import picture

pytestmark = [pytest.mark.same_on_every_python, needs("chromium")]

CONTRAST = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = (name) => {
    canvas.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
    canvas.fillRect(0, 0, 1, 1);
    const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const found = {};
  for (const text of ['--text', '--quiet', '--won', '--failed', '--running', '--late'])
    for (const ground of ['--card', '--ground', '--faint']) {
      const [low, high] = [light(text), light(ground)].sort((a, b) => a - b);
      found[`${text} on ${ground}`] = (high + 0.05) / (low + 0.05);
    }
  return found;
})()
"""


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
async def test_texts_have_the_contrast_of_aa_in_both_schemes(scheme: str) -> None:
    async with live_page("serve", "--upstream", "http://127.0.0.1:1/x") as (_, page):
        await look(page, 1280, 800, scheme)
        contrasts: dict[str, float] = await page.evaluate(CONTRAST)
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert {pair: ratio for pair, ratio in contrasts.items() if ratio < 4.5} == {}
    assert ground == {"light": "rgb(246, 247, 249)", "dark": "rgb(13, 17, 23)"}[scheme]


async def test_it_fits_a_phone_and_can_be_touched() -> None:
    """Nothing sticks out to the side, and what is pressed is large enough (WCAG 2.5.8)."""
    async with live_page("demo", *SLOW) as (_, page):
        await look(page, 360, 740, scale=2)
        await fire(page, count=2)
        await page.wait_until("document.querySelectorAll('#rows tr.answered').length === 2")
        width = await page.evaluate("document.documentElement.scrollWidth")
        tops: list[float] = await page.evaluate(
            "['#controls', '#requests', '#guarantees'].map(each => document.querySelector(each))"
            ".map(each => each.getBoundingClientRect().top)"
        )
        small = await page.evaluate(
            "[...document.querySelectorAll('button, select, .button, input')]"
            ".filter(each => each.type !== 'radio' && each.type !== 'range')"
            ".filter(each => each.offsetHeight && each.offsetHeight < 24)"
            ".map(each => each.outerHTML)"
        )
        await page.click("#rows tr.answered .time")
        await page.wait_until("document.querySelector('#receipt').open")
        receipt = await page.evaluate("document.querySelector('#receipt').scrollWidth")
    assert (width, small) == (360, [])
    assert tops == sorted(tops), "the controls come after the rows"
    assert receipt <= 360


async def test_who_wants_less_motion_gets_none() -> None:
    async with live_page("demo", *SLOW) as (_, page):
        feature = {"name": "prefers-reduced-motion", "value": "reduce"}
        await page.command("Emulation.setEmulatedMedia", features=[feature])
        await page.click("#controls .primary")
        await page.wait_until("document.querySelector('#rows tr.answered')")
        animations = await page.evaluate("document.getAnimations().length")
    assert animations == 0


# --- the pictures of the documents


@pytest.mark.long
async def test_the_pictures_of_the_documents(tmp_path: Path) -> None:
    faults = ["--fault", "status=0.15", "--fault", "hang_before_head=0.1"]
    async with live_page("demo", "--seed", "6", *faults) as (_, page):
        await look(page, 1180, 650)
        await fire(page, count=44, over_ms=11_000 - 1_500)
        await fire(page, count=14, over_ms=9_000, timeout_ms=600, endpoint="all")
        await fire(page, count=5, over_ms=9_000, timeout_ms=800, hang_up_after_ms=120)
        await trio.sleep(9)
        await page.wait_until("document.querySelector('#rows tr.running')")
        await picture(page, tmp_path, "live-light")
        await look(page, 1180, 650, "dark")
        await trio.sleep(0.5)
        await picture(page, tmp_path, "live-dark")
        await page.wait_until("!document.querySelector('#rows tr.running')")
        await look(page, 1180, 650)
        await page.evaluate("document.querySelector('#rows .call.cancelled').closest('tr').click()")
        await page.wait_until("document.querySelector('#receipt').open")
        await picture(page, tmp_path, "live-receipt")
        await press(page, "Escape")
        await look(page, 360, 740)
        await page.evaluate("document.querySelector('#legend').scrollIntoView()")
        await trio.sleep(0.5)
        await picture(page, tmp_path, "live-phone")
