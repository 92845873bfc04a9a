"""Documents that are made from the code are what the code makes: `make documents` writes them."""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import page
from fanout.config import SETTINGS
from tests.project import picture, settings_page

pytestmark = pytest.mark.same_on_every_python

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def test_the_page_of_settings_is_made_from_the_table_of_settings() -> None:
    text = settings_page.PAGE.read_text("utf-8")
    assert text == settings_page.page()
    assert re.findall(r"^## (FANOUT_\w+)$", text, re.MULTILINE)[: len(SETTINGS)] == [
        s.variable for s in SETTINGS
    ]


def test_every_setting_says_which_values_it_takes() -> None:
    assert settings_page.page().count("\n* Values: ") == len(SETTINGS)


def test_the_picture_is_drawn_from_the_text() -> None:
    assert picture.PICTURE.read_text("utf-8") == picture.svg()


def test_the_picture_shows_every_layer_of_the_import_contract_from_the_top() -> None:
    """Read from the picture itself: a package of a higher layer stands higher."""
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    contract = setup["importlinter:contract:packages"]["layers"]
    drawn = ElementTree.parse(picture.PICTURE).getroot()
    rows = {text.text: int(text.get("y", "0")) for text in drawn.iter(f"{SVG}text")}
    layers = [layer.replace("|", " ").split() for layer in contract.strip().split("\n")]
    boxes = [(int(box.get("y", "0")), int(box.get("height", "0"))) for box in drawn.iter(f"{SVG}rect")]
    assert len(boxes) == len(layers)
    for (y, height), layer in zip(sorted(boxes), layers, strict=True):
        assert {name for name in layer if y < rows[name] < y + height} == set(layer)


def test_the_picture_is_readable_in_light_and_dark_and_loads_nothing() -> None:
    text = picture.PICTURE.read_text("utf-8")
    assert "prefers-color-scheme: dark" in text
    assert "href" not in text
    assert "url(" not in text


@pytest.mark.parametrize("path", page.QUOTING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_figure_that_a_document_quotes_is_that_of_the_benchmark(path: Path) -> None:
    text = path.read_text("utf-8")
    assert page.quoted(text, page.load()) == text


def test_the_readme_quotes_the_benchmark_and_stays_short() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert "<!-- figure: glance -->\n\n| " in text
    assert len(text.splitlines()) < 150


def test_the_map_names_every_document() -> None:
    listed = re.findall(r"\]\(([\w.-]+\.md)[)#]", (ROOT / "docs/README.md").read_text("utf-8"))
    assert set(listed) == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
