"""The rows *Tasks*: what each variant leaves, cuts and loses, counted, and equal in every run."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from fanout.lab.side_by_side import tasks
from fanout.lab.side_by_side.cells import Section
from fanout.lab.side_by_side.situations import SITUATIONS
from fanout.lab.side_by_side.variants import BY_NAME, ENDPOINTS
from tests.lab.side_by_side.cells import cell, every_cell
from tests.lacking import needs_bridge

RUNS = int(os.environ.get("LAB_RUNS", "2"))
BEST = "TaskGroup + timeout"
OURS = "fanout"
CLEAN_UP_ROWS = ("clean-up waits", "unshielded")


def test_asyncios_best_practice_keeps_all_but_a_swallowed_cancellation(task_rows: Section) -> None:
    """Where a clean-up waits it is late, as ours is; otherwise it is right, on time, and leaves nothing."""
    for situation in SITUATIONS:
        for endpoint in ENDPOINTS:
            seen = cell(task_rows, BEST, situation.name, endpoint)
            if situation.name == "swallowed":
                assert (seen.verdict, seen.text) == ("broken", "never")
            elif situation.name in CLEAN_UP_ROWS:
                assert (seen.verdict, seen.text) == ("late", "+400 ms")
            else:
                assert (seen.verdict, seen.answered_ms) == ("kept", seen.due_ms), (situation.name, endpoint)


def test_ours_is_late_where_a_clean_up_waits_and_cuts_one_without_a_shield(task_rows: Section) -> None:
    for situation in SITUATIONS:
        for endpoint in ENDPOINTS:
            seen = cell(task_rows, OURS, situation.name, endpoint)
            if situation.name == "clean-up waits":
                assert (seen.verdict, seen.text) == ("late", "+400 ms")
            elif situation.name == "unshielded":
                assert (seen.verdict, seen.text, seen.counts["clean_ups_cut"]) == ("broken", "cut", 1)
            else:
                assert (seen.verdict, seen.answered_ms) == ("kept", seen.due_ms), (situation.name, endpoint)
            assert seen.counts["tasks_at_0_ms"] == seen.counts["tasks_at_50_ms"] == 0


@pytest.mark.parametrize(
    ("variant", "row", "endpoint", "text"),
    [
        ("wait", "slow loser", "first", "1 left"),
        ("wait", "both hang", "first", "2 left"),
        ("wait", "fast failure", "first", "wrong, 1 left"),
        ("wait", "disconnect", "all", "2 left"),
        ("wait, cancel", "slow loser", "first", "1 left at 0 ms"),
        ("wait, cancel", "swallowed", "all", "1 left"),
        ("wait, cancel", "clean-up waits", "first", "2 left"),
        ("as_completed", "one hangs", "all", "1 left"),
        ("gather", "slow loser", "first", "+650 ms"),
        ("gather", "fast failure", "all", "wrong, 1 left"),
        ("gather, exceptions", "clean-up raises", "all", "bug lost"),
        ("wait, cancel, await", "swallowed", "first", "never"),
        ("anyio task group", "swallowed", "first", "ok"),
        ("anyio task group", "unshielded", "first", "cut"),
        ("anyio task group", "clean-up waits", "first", "wrong, +400 ms"),
    ],
)
def test_what_each_variant_is_known_for(
    task_rows: Section, variant: str, row: str, endpoint: str, text: str
) -> None:
    assert cell(task_rows, variant, row, endpoint).text == text


@pytest.mark.parametrize("row", CLEAN_UP_ROWS)
def test_late_left_or_cut_nobody_gets_none_of_the_three(task_rows: Section, row: str) -> None:
    cells = [
        seen for each, seen in every_cell(task_rows) if each.name == row and seen.verdict != "not measured"
    ]

    assert OURS in {seen.variant for seen in cells}
    assert "kept" not in {seen.verdict for seen in cells}


def test_no_leak_is_claimed_without_a_count_nor_a_count_without_a_claim(task_rows: Section) -> None:
    for row, seen in every_cell(task_rows):
        if seen.verdict == "not measured":
            assert seen.text
            continue
        counts, place = seen.counts, (row.name, row.endpoint, seen.variant)
        if "never" not in seen.text:
            left = max(counts["tasks_at_0_ms"], counts["tasks_at_50_ms"])
            assert (f"{left} left" in seen.text) == bool(left), place
            assert ("cut" in seen.text) == bool(counts["clean_ups_cut"]), place
        if "bug lost" in seen.text:
            assert counts["bugs_raised"] + counts["bugs_logged"] == 0, place
        assert len(seen.text) <= 24, place
        assert seen.timeline, place


def test_the_line_that_leaks_is_one_that_creates_tasks(task_rows: Section) -> None:
    creates = re.compile(r"create_task\(|gather\(|as_completed\(|over_the_bridge")
    looked_at = 0
    for row, seen in every_cell(task_rows):
        if re.match(r"\d left", seen.text):
            assert seen.leak is not None, (row.name, row.endpoint, seen.variant)
            assert creates.search(seen.source.splitlines()[seen.leak - 1])
            looked_at += 1
    assert looked_at > 20


def test_the_line_that_waits_is_one_that_awaits(task_rows: Section) -> None:
    looked_at = 0
    for _, seen in every_cell(task_rows):
        if seen.text in ("never", "+400 ms", "+650 ms"):
            assert seen.leak is not None
            line = seen.source.splitlines()[seen.leak - 1]
            assert re.search(r"\bawait\b|async with|with anyio", line), line
            looked_at += 1
    assert looked_at > 10


@needs_bridge
def test_the_bridge_is_late_by_at_most_its_grace_and_counts_what_it_leaves(task_rows: Section) -> None:
    grace_ms = 15
    ignores = ("swallowed", *CLEAN_UP_ROWS)
    for situation in SITUATIONS:
        for endpoint in ENDPOINTS:
            seen = cell(task_rows, "bridge", situation.name, endpoint)
            assert seen.answered_ms is not None
            assert seen.due_ms is not None
            if situation.name in ignores:
                assert seen.answered_ms == seen.due_ms + grace_ms
                assert seen.counts["tasks_at_0_ms"] > 0
            else:
                assert (seen.verdict, seen.answered_ms) == ("kept", seen.due_ms), (situation.name, endpoint)


def test_on_a_python_that_cannot_import_the_bridge_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where trio-asyncio is installed."""
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    assert BY_NAME["bridge"].lacks == "Python below 3.14"
    assert BY_NAME["anyio_group"].lacks == ""


def test_a_lost_bug_and_a_reported_one_are_told_apart(task_rows: Section) -> None:
    lost = cell(task_rows, "wait, cancel, await", "clean-up raises")
    logged = cell(task_rows, "wait, cancel", "clean-up raises")

    assert (lost.verdict, lost.text) == ("broken", "bug lost")
    assert logged.counts["bugs_logged"] == 1
    assert cell(task_rows, BEST, "clean-up raises").counts["bugs_raised"] == 1
    assert cell(task_rows, OURS, "clean-up raises").counts["bugs_logged"] == 1


@pytest.mark.long
def test_every_run_is_the_same(task_rows: Section) -> None:
    """`LAB_RUNS=20` for more of them; other Pythons: `make lab-rows`."""
    for _ in range(RUNS - 1):
        assert tasks.section() == task_rows


def test_asyncios_process_loads_neither_trio_nor_trio_asyncio() -> None:
    code = (
        "import sys; from fanout.lab.side_by_side import asyncio_world, cell_process, variants;"
        "[v.module for v in variants.VARIANTS if v.runtime == 'asyncio'];"
        "sys.exit(' '.join(sys.modules.keys() & {'trio', 'trio_asyncio', 'aiohttp'}) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_process_ends_itself_if_asyncio_was_replaced() -> None:
    code = (
        "import trio; from fanout.lab.side_by_side import cell_process;"
        "cells = [['taskgroup', 'slow loser', 'first']];"
        "list(cell_process.cells({'runtime': 'asyncio', 'cells': cells, 'readers': None}))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "['trio'] were imported into asyncio's process" in done.stderr
