"""`first` from nothing: each step passes its own experiment and those before it, and fails the next."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from fanout.api.handlers import run_race

STEPS: Final = Path(__file__).parents[2] / "examples/steps"
FILES: Final = sorted(path.name for path in STEPS.glob("[0-9]*.py"))
# A process of its own: other tests import libraries that replace asyncio's event loop.
ALL: Final = """
import json
from experiments import EXPERIMENTS, steps
rows = [[(each.LOOP(each.first, experiment), experiment) for experiment in EXPERIMENTS] for each in steps()]
print(json.dumps([[(str(seen), experiment.is_passed(seen)) for seen, experiment in row] for row in rows]))
"""


def python(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(STEPS)}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=30
    ).stdout


@cache
def runs() -> list[list[tuple[str, bool]]]:
    """By step and experiment: what was seen, and whether that is a pass."""
    return [[(seen, is_passed) for seen, is_passed in row] for row in json.loads(python("-c", ALL))]


def test_there_is_an_experiment_for_each_of_eight_steps() -> None:
    assert [name[:2] for name in FILES] == [f"{n:02}" for n in range(1, 9)]
    assert [len(row) for row in runs()] == [8] * 8


@pytest.mark.parametrize("step", range(8), ids=FILES)
def test_a_step_passes_the_experiments_up_to_its_own_and_fails_the_next(step: int) -> None:
    passed = [is_passed for _, is_passed in runs()[step]]
    assert all(passed[: step + 1])
    assert not any(passed[step + 1 : step + 2])


@pytest.mark.parametrize(
    ("step", "seen"),
    [
        (1, "a failure at 20 ms, tasks left: 1"),
        (2, "never an answer, tasks left: 2"),
        (3, "50 at 50 ms, tasks left: 1"),
        (4, "never an answer, tasks left: 1"),
        (5, "deadline at 600 ms"),
        (6, "50 at 50 ms"),
        (7, "disconnected at 100 ms"),
    ],
)
def test_a_step_fails_the_next_experiment_in_the_way_that_it_says(step: int, seen: str) -> None:
    assert runs()[step - 1][step] == (seen, False)


def test_the_last_step_is_right_in_every_experiment_and_exact() -> None:
    """G3, G4, G11: in virtual time."""
    assert [seen for seen, _ in runs()[-1]] == [
        "50 at 50 ms",
        "150 at 150 ms",
        "deadline at 300 ms",
        "50 at 50 ms",
        "50 at 50 ms",
        "100 at 600 ms",
        "a bug at 50 ms, reported: ZeroDivisionError",
        "disconnected at 100 ms, reported: ZeroDivisionError",
    ]


def test_the_last_step_is_the_code_of_the_server() -> None:
    block = inspect.getsource(run_race).split("\n", 1)[1].rpartition("    return")[0]
    assert block.count("\n") == 5
    assert block in (STEPS / FILES[-1]).read_text("utf-8")


@pytest.mark.parametrize(("name", "wrong"), [(FILES[0], 1), (FILES[-1], 0)])
def test_a_step_runs_alone_and_shows_what_goes_wrong(name: str, wrong: int) -> None:
    printed = python(str(STEPS / name))
    assert printed.startswith(f"{int(name[:2])}. ")
    assert printed.count("WRONG") == printed.count("it should be") == printed.count("call 1 |") == wrong
