"""`fanout lab asyncio`: the grid, its rows, and what opens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fanout.lab.side_by_side import matrix
from fanout.lab.side_by_side.cells import Section
from fanout.lab.side_by_side.command import asyncio_command
from fanout.lab.side_by_side.text import footer_of, grid_of, row_of
from fanout.lab.text import COLUMNS
from fanout.process.exits import SIGNALLED


def run(*arguments: str) -> Result:
    return CliRunner().invoke(asyncio_command, arguments)


@pytest.fixture
def measured_before(monkeypatch: pytest.MonkeyPatch, task_rows: Section, moment_rows: Section) -> None:
    """The sections without sockets, as they were measured for other tests."""
    sections = {"tasks": task_rows, "one moment": moment_rows}
    monkeypatch.setattr(matrix, "SECTIONS", {name: matrix.SECTIONS[name] for name in sections})
    monkeypatch.setattr(matrix, "section", lambda name, *_: sections[name])


@pytest.mark.usefixtures("measured_before")
def test_the_matrix_fits_100_columns_and_is_plain_text_when_piped() -> None:
    done = run()

    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= COLUMNS
    assert "\x1b" not in done.output
    assert not [line for line in done.output.splitlines() if line != line.rstrip()]
    assert (
        done.output.index("TaskGroup + timeout") < done.output.index("gather") < done.output.index("fanout\n")
    )
    assert f"Python {matrix.versions()['Python']}" in done.output


@pytest.mark.usefixtures("measured_before")
@pytest.mark.parametrize("name", ["slow loser", "slow-loser"])
def test_a_row_shows_all_that_was_counted(name: str) -> None:
    """Also by the name that the shell completes."""
    done = run(name)

    assert "tasks_at_0_ms 1, tasks_at_50_ms 1" in done.output
    assert "fast failure" not in done.output
    assert max(map(len, done.output.splitlines())) <= COLUMNS


@pytest.mark.usefixtures("measured_before")
def test_a_cell_opens_with_its_lines_its_timeline_and_the_line_that_leaks() -> None:
    done = run("--open", "wait/slow-loser")

    assert done.exit_code == 0
    assert (
        'call 1 |########################>  left       100.0 ms  "after the answer, at 700 ms' in done.output
    )
    (leak,) = [line for line in done.output.splitlines() if line.startswith("->")]
    assert leak.endswith("tasks = [asyncio.create_task(call()) for call in calls]")
    assert "tasks_at_50_ms: 1" in done.output


@pytest.mark.usefixtures("measured_before")
@pytest.mark.parametrize("name", ["taskgroup", "TaskGroup + timeout", "taskgroup timeout"])
def test_a_variant_is_found_by_its_file_or_its_title(name: str) -> None:
    assert "TaskGroup + timeout, swallowed /api/all: broken" in run("--open", f"{name}/swallowed/all").output


@pytest.mark.usefixtures("measured_before")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("slow",), "there is no row 'slow': there are fast failure, slow loser, "),
        (("--open", "gather"), "'gather' is not VARIANT/ROW"),
        (("--open", "gather/slow loser/second"), "is not VARIANT/ROW or VARIANT/ROW/ENDPOINT"),
        (("--open", "gather/tasks"), "names no row"),
        (("--open", "gather/nope"), "there is no row 'nope'"),
        (("--open", "gevent/slow loser"), "there is no variant 'gevent' in this row: there are TaskGroup"),
        (
            ("--open", "gevent/tie"),
            "there is no variant 'gevent' in this row: there are asyncio; anyio; Trio",
        ),
    ],
)
def test_a_wrong_name_is_one_line_that_names_the_right_ones(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)

    assert done.exit_code == 2
    assert words in done.output


@pytest.mark.usefixtures("measured_before")
def test_json_has_every_cell_with_its_source_and_the_versions() -> None:
    shown = json.loads(run("--json", "tasks").output)

    (section,) = shown["sections"]
    assert shown["versions"]["Python"] == matrix.versions()["Python"]
    cells = [cell for row in section["rows"] for cell in row["cells"]]
    assert len(cells) == len(section["rows"]) * len(section["variants"])
    assert all(cell["source"] for cell in cells if cell["verdict"] != "not measured")


def test_to_open_a_cell_only_its_row_and_its_variant_are_measured() -> None:
    measured = matrix.section("tasks", ("slow loser",), ("ours",))

    assert [(row.name, [seen.variant for seen in row.cells]) for row in measured.rows] == [
        ("slow loser", ["fanout"])
    ] * 2


@pytest.mark.skipif(not find_spec("aiohttp"), reason="needs aiohttp: pip install 'fanout-server[lab]'")
@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_of_a_row_on_sockets(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "fanout", "lab", "asyncio", "in head"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: len(children_of(process.pid)) > 2)
        children = children_of(process.pid)
        process.send_signal(number)
        try:
            assert process.wait(40) == SIGNALLED + number
            wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
        finally:
            for pid in [process.pid, *children]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def children_of(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            ppid = stat.read_text().rpartition(") ")[2].split()[1]
        except OSError:
            continue  # it has just ended
        if int(ppid) == parent:
            found.append(int(stat.parent.name))
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_not_installed_is_named_with_the_command_that_brings_it() -> None:
    text = footer_of({"Python": "3.11.7", "aiohttp": "not installed", "trio": "0.35.0"})

    assert "aiohttp not installed" in text
    assert "Not measured without aiohttp: pip install 'fanout-server[lab]'" in text


def test_every_row_and_grid_is_as_wide_as_it_says(task_rows: Section, moment_rows: Section) -> None:
    for section in (task_rows, moment_rows):
        assert len(grid_of(section).splitlines()) > len(section.rows)
        for row in section.rows:
            assert len(row_of(row).splitlines()) >= len(row.cells) + 2
