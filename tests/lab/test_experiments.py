"""Every experiment is kept by the server as it is, and what it says about the code is true."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from click import unstyle

from fanout.lab.experiment import Experiment
from fanout.lab.experiments import EXPERIMENTS
from fanout.lab.report import Report, Seen
from fanout.lab.run import Result
from fanout.lab.text import COLUMNS, article_of, summary_of, text_of
from fanout.lab.timeline import Lane
from fanout.testing.breakages.patches import breakages
from tests.project.figures import ROOT
from tests.project.test_guarantees import GUARANTEES, functions_in

EXTRAS: Final = ("pytest", "aiohttp", "trio_asyncio", "hdrh", "opentelemetry", "schemathesis", "hypothesis")
MEMBERS: Final = {
    *("id", "title", "claim", "virtual", "took_ms", "kept", "done", "timeline", "seen", "code", "test"),
    "breakages",
}
all_experiments = pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)


@pytest.mark.long
@pytest.mark.timeout(150)
def test_all_twelve_are_kept_without_extras(tmp_path: Path) -> None:
    """G1 to G12, whatever the settings of this machine are, and each fits a terminal."""
    hidden = "".join(f"sys.modules[{name!r}] = None\n" for name in EXTRAS)
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{hidden}")
    done = subprocess.run(
        [sys.executable, "-m", "fanout", "lab", "--json"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "FANOUT_MAX_IN_FLIGHT": "nonsense"},
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    assert done.stderr == ""
    found = json.loads(done.stdout)["experiments"]
    assert [each["id"] for each in found] == list(EXPERIMENTS)
    assert [(each["id"], seen) for each in found for seen in each["seen"] if not seen["holds"]] == []
    assert all(each["kept"] for each in found)
    assert done.returncode == 0
    for each in found:
        experiment, report = EXPERIMENTS[each["id"]], Report.from_json(each)
        assert each.keys() == MEMBERS
        assert report.to_json().items() <= each.items()
        text = unstyle(text_of(experiment, report))
        assert max(map(len, text.splitlines())) <= COLUMNS
        assert text.splitlines()[0].endswith(" kept")
        assert report.done
        assert report.lanes or experiment.id == "G12"
        assert experiment.is_virtual == any(seen.by == "virtual time" for seen in report.seen)


@all_experiments
def test_its_article_says_what_it_does_not_cover(experiment: Experiment) -> None:
    article = unstyle(article_of(experiment))
    assert max(map(len, article.splitlines())) <= COLUMNS
    assert article.startswith(f"{experiment.id} {GUARANTEES[experiment.id]}\n\n")
    assert "\nNot covered: " in article
    assert 150 <= len(experiment.article.split()) <= 350


@all_experiments
def test_its_code_its_test_and_its_breakages_exist(experiment: Experiment) -> None:
    path, _, name = experiment.code.partition(" ")
    assert name in names_in(ROOT / path)
    path, _, name = experiment.test.partition("::")
    assert name in functions_in(path)
    assert set(experiment.breakages) <= breakages().keys()


def names_in(path: Path) -> set[str]:
    """Functions and classes of a module, and methods as `Class.method`."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (ast.FunctionDef, ast.AsyncFunctionDef)
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, methods)}
    return names


def test_there_is_one_for_each_guarantee_in_order() -> None:
    assert {e.id: e.title for e in EXPERIMENTS.values()} == GUARANTEES
    assert list(EXPERIMENTS) == list(GUARANTEES)


@pytest.mark.parametrize(("holds", "is_kept"), [([], False), ([True], True), ([True, False, True], False)])
def test_nothing_seen_is_not_kept(holds: list[bool], is_kept: bool) -> None:
    report = Report(["something"])
    for each in holds:
        report.see("client", "200", each)
    assert report.is_kept == is_kept


def test_a_broken_observation_stands_out() -> None:
    """In front of its line, without colour, and behind it in the summary."""
    experiment = EXPERIMENTS["G4"]
    lanes = [Lane("call 0", 0, 50, "success"), Lane("call 1", 0, 100, "cancelled", "why", was_reset=True)]
    seen = [Seen("client", "200", True), Seen("client", "500", False), Seen("wire", "reset", True)]
    report = Report(["it was asked"], lanes, seen)
    lines = unstyle(text_of(experiment, report)).splitlines()
    assert lines[:8] == [
        f"G4  {experiment.claim:<60}BROKEN",
        "    done   it was asked",
        "    call 0 |############|              success       50.0 ms",
        '    call 1 |########################R  cancelled    100.0 ms  "why"',
        "    seen   client  200",
        "    BROKEN client  500",
        "    seen   wire    reset",
        f"    code   {experiment.code}",
    ]
    assert summary_of([Result(experiment, report, 1500)]) == "0 of 1 kept in 1.5 s; broken: G4"
