"""docs/lab.md shows what its programs print and do: `make documents` writes the output and the pictures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest

from tests.project.lab_page import COMMAND, PAGE, PROGRAM, ROOT

pytestmark = pytest.mark.same_on_every_python

TEXT: Final = PAGE.read_text("utf-8")
PICTURES: Final = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/images").glob("lab-*.svg")
)


@cache
def made() -> dict[str, str]:
    """The page and its pictures, as a process of their own makes them."""
    command = [sys.executable, "-W", "error", "-m", "tests.project.lab_page", "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert run.returncode == 0, run.stderr
    files: dict[str, str] = json.loads(run.stdout)
    return files


@pytest.mark.parametrize("path", ["docs/lab.md", *PICTURES])
def test_it_shows_what_its_programs_do(path: str) -> None:
    assert (ROOT / path).read_text("utf-8") == made()[path]


def test_no_other_picture_is_there() -> None:
    assert sorted(made()) == sorted(["docs/lab.md", *PICTURES])


def test_every_program_and_every_step_is_run() -> None:
    """And shows something: a block without output would be one that nothing runs."""
    programs = PROGRAM.findall(TEXT)
    assert len(programs) == TEXT.count("```python\n") > 12
    steps = [path for _, path in COMMAND.findall(TEXT)]
    assert steps[0] == "examples/steps/experiments.py"
    assert steps[1:] == sorted(
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("examples/steps/0*.py")
    )
    assert len(steps) == 9
    assert len(programs) + len(steps[1:]) == TEXT.count("```text\n")
    assert not re.search(r"```text\n```|\.py\n```$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("path", PICTURES)
def test_a_picture_is_readable_in_light_and_dark_says_what_it_shows_and_loads_nothing(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"href|url\(|<script", text)
    title, about = ElementTree.fromstring(text)[:2]
    assert title.text
    assert about.text
    assert f"](images/{Path(path).name})" in TEXT


def test_a_lane_is_as_long_as_its_call() -> None:
    """Read from the picture itself: the clean-up that waits for 400 ms is eight times the call of 50 ms."""
    drawn = ElementTree.fromstring(made()["docs/images/lab-clean-up.svg"])
    bars = [
        (bar.get("class"), float(bar.get("width", "0")))
        for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert [kind for kind, _ in bars] == ["good", "cancelled", "left"] + ["good", "cancelled", "tidy"] * 3
    widths = [width / bars[0][1] for _, width in bars]
    assert widths == pytest.approx([1, 1, 8, 1, 1, 8, 1, 1, 5, 1, 1, 8], rel=0.01)
