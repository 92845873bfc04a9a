"""docs/performance.md is what the benchmark's renderer makes of its figures and its prose. No load here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.provenance import FIELDS
from benchmarks.sections import SECTIONS, disconnect, profile

pytestmark = pytest.mark.same_on_every_python

ROOT = Path(__file__).parents[2]
FIGURES = page.load()
MEASURED = {"date", "commit", "python", "machine", "where", "load_before", "load_after", "took_s", "short"}


def test_the_page_is_what_its_figures_and_its_prose_make() -> None:
    """It can neither be edited by hand nor go stale: `make bench ARGS=--render` writes it."""
    assert page.PAGE.read_text("utf-8") == page.page(FIGURES)


def test_every_section_is_measured_and_shown_once() -> None:
    assert list(FIGURES) == list(SECTIONS)
    assert sorted(page.marks()) == sorted(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_says_how_it_was_measured(name: str) -> None:
    """When, of which commit, on what, and what else the machine did."""
    measured = FIGURES[name]["measured"]
    assert set(measured) - {"changed"} == MEASURED | FIELDS.keys()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", measured["date"])
    assert f"--only {name}" in measured["command"]
    how = f"*`{measured['command']}`, {measured['date']}, commit"
    assert how in " ".join(page.PAGE.read_text("utf-8").split())


@pytest.mark.parametrize("name", [name for name, section in SECTIONS.items() if hasattr(section, "plot")])
def test_every_plot_is_there_and_small(name: str) -> None:
    """Text is text, and nothing in it tells when it was drawn."""
    drawn = page.image(name).read_text("utf-8")
    assert "<text" in drawn
    assert "<dc:date>" not in drawn
    assert len(drawn) < 60_000


def test_the_page_is_made_without_what_only_the_benchmark_needs() -> None:
    """Who has but the test environment can hold the page to its figures."""
    code = (
        "import sys; from benchmarks import page; page.page(page.load());"
        "print(*{'matplotlib', 'aiohttp', 'fastapi', 'uvicorn', 'uvloop', 'trustme'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", ["requirements", "requirements-robyn"])
def test_the_lock_of_the_benchmark_agrees_with_that_of_the_tests(name: str) -> None:
    """What is asked for is locked by hash, no registry is named, and it changes no library of the tests."""
    pin = re.compile(r"^([\w.-]+)==([^\s;]+)(?: ; [^\n]*)? \\\n +--hash=sha256:", re.MULTILINE)
    text = (ROOT / f"benchmarks/{name}.lock").read_text("utf-8")
    locked = dict(pin.findall(text))
    others = dict(pin.findall((ROOT / "requirements-dev.lock").read_text("utf-8")))
    asked = (ROOT / f"benchmarks/{name}.txt").read_text("utf-8")
    wanted = re.findall(r"^([\w-]+)(?:==(\S+))?$", asked, re.MULTILINE)
    assert len(wanted) > 1
    assert "index-url" not in text
    for library, version in wanted:
        assert locked[library] == (version or locked[library])
    assert {library: others[library] for library in locked.keys() & others.keys()} == {
        library: locked[library] for library in locked.keys() & others.keys()
    }


def test_the_readme_and_the_page_say_what_the_disconnects_have_shown() -> None:
    """All cells are measured, and what the text says of servers and frameworks is true of each of them."""
    found = FIGURES["disconnect"]["found"]
    assert disconnect.in_short(found) in (ROOT / "README.md").read_text("utf-8")
    assert list(found["cells"]) == list(disconnect.SERVERS)
    ends = {
        (server, app): disconnect.end_of(runs)
        for server, cells in found["cells"].items()
        for app, runs in cells.items()
    }
    assert len(ends) == 4 + len(disconnect.ASGI) * len(disconnect.APPS)
    for (server, app), end in ends.items():
        stops = server in ("fanout", disconnect.CANCELLING) or app in ("watching", "quart")
        assert end == ("at once" if stops else "after 3 s" if server.startswith("gunicorn") else "no"), server


def test_a_sample_belongs_to_its_innermost_known_frame_and_waiting_is_no_work() -> None:
    stacks = "\n".join(
        (
            "unrolled_run (trio/_core/_run.py:9);run (fanout/race/race.py:8);len (libc.so.6) 5",
            "unrolled_run (trio/_core/_run.py:9);os_write (posix.c:1);write (libc.so.6) 3",
            "main (fanout/cli.py:1);gc_collect_main (gcmodule.c:1);visit (gcmodule.c:2) 2",
            "run (fanout/observe/log_writer.py:9);lock_PyThread_acquire_lock (libpython);0x7f (libc.so.6) 90",
            "start (libc.so.6) 1",
        )
    )
    assert profile.layers(stacks) == {
        "the race": 5,
        profile.SOCKETS: 3,
        profile.COLLECTION: 2,
        profile.REST: 1,
    }
