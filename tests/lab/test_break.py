"""`fanout lab --break NAME`: a mistake in the server's memory, and the experiments that see it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import click.testing
import pytest
import trio

import fanout.cli
from fanout.cli import cli
from fanout.lab import run
from fanout.lab.broken import SHOWN_FIRST, must_see
from fanout.lab.experiments import EXPERIMENTS
from fanout.lab.report import Report
from fanout.lab.setup import CannotRun, ServerFailed, Setup
from fanout.lab.virtual import VirtualPartCrashed
from fanout.testing.breakages.patches import Breakage, breakages
from tests.lab.breakages import sights

NAME: Final = "losers_not_cancelled"
REMOVED: Final = '-                scope.cancel(reason=f"call {call} settled the race")'


def lab(*arguments: str, tree: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`fanout lab ARGUMENTS`, as a user runs it. tree: a folder with the package to use."""
    return subprocess.run(
        [sys.executable, "-m", "fanout", "lab", *arguments],
        cwd=tree,
        env={**os.environ, **({} if tree is None else {"PYTHONPATH": str(tree)})},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def source() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path(fanout.__file__).parent.rglob("*.py")}


def test_a_breakage_is_shown_first_then_seen_and_no_file_changes() -> None:
    """G4: the lab says that it is broken, with exit code 1."""
    before = source()
    done = lab("--break", NAME)
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{NAME}: A winner does not cancel the losers. No file changes."
    assert lines.index(REMOVED) < lines.index("must turn red: G4")
    (head,) = [line for line in lines if line.startswith("G4 ")]
    assert head.endswith("BROKEN")
    assert lines[-1] == f"{NAME} was seen by G4"
    assert "\033" not in done.stdout
    assert source() == before


@pytest.mark.long
def test_the_json_has_the_breakage_and_what_was_seen() -> None:
    """G11: it is seen in virtual time, and in the log."""
    breakage = breakages()["bug_lost_in_group"]
    done = lab("--break", breakage.name, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert found["breakage"] == {
        "name": breakage.name,
        "title": breakage.title,
        "breaks": ["G11"],
        "diff": breakage.diff,
    }
    assert (found["must_turn_red"], found["seen_by"], found["missed_by"]) == (["G11"], ["G11"], [])
    (experiment,) = found["experiments"]
    assert (experiment["id"], experiment["kept"]) == ("G11", False)
    assert any(seen["by"] == "virtual time" and not seen["holds"] for seen in experiment["seen"])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package, in which a test may add a breakage."""
    shutil.copytree(Path(fanout.__file__).parent, tmp_path / "fanout")
    return tmp_path


def add_breakage(tree: Path, name: str, before: str, after: str, file: str = "fanout/race/race.py") -> None:
    diff = f"--- a/{file}\n+++ b/{file}\n@@ -1,1 +1,1 @@\n-{before}\n+{after}\n"
    patch = tree / "fanout" / "testing" / "breakages" / f"{name}.patch"
    patch.write_text(f"A title\nBreaks: G4\nTests: tests/race\nCaught by: unit\n{diff}")


@pytest.mark.long
def test_a_server_that_does_not_start_is_what_was_seen(tree: Path) -> None:
    """Its last words say why, in one line, even if they are a line of its log with a traceback."""
    file = "fanout/admin/live/app.py"
    add_breakage(
        tree, "no_start", "        self._files = _files()", "        raise OSError('no files')", file
    )
    done = lab("--break", "no_start", "G4", tree=tree)
    assert (done.returncode, done.stderr) == (1, "")
    text = " ".join(done.stdout.split())
    assert "BROKEN server `fanout.testing.breakages no_start fanout serve` did not start: " in text
    assert "the server has crashed: OSError: no files" in text
    assert "Traceback" not in text
    assert done.stdout.splitlines()[-1] == "no_start was seen by G4"


def test_a_breakage_that_does_not_apply_is_not_taken_for_one_that_was_seen(tree: Path) -> None:
    add_breakage(tree, "stale", "a line that is not there", "another one")
    done = lab("--break", "stale", "G4", tree=tree)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("fanout lab: ")
    assert "stale cannot be applied: fanout/race/race.py has these lines 0 times, not once" in line


def test_an_unknown_name_is_one_line_with_all_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fanout", "lab", "--break", "no_such_name"])
    assert fanout.cli.run() == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert "there is no breakage 'no_such_name': there are " in line
    assert all(name in line for name in breakages())


@pytest.mark.parametrize("breakage", breakages().values(), ids=lambda breakage: breakage.name)
def test_a_breakage_must_turn_the_experiments_of_its_guarantees_red(breakage: Breakage) -> None:
    """The head of the patch and the experiments say the same. `make lab-breakages` sees them red."""
    assert tuple(experiment.id for experiment in must_see(breakage)) == breakage.guarantees


# What follows runs the command in this process, with experiments that start nothing.

Script = Callable[..., None]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Replace an experiment by one with one observation, or by one that fails or hangs."""

    def replace_run(
        key: str, *, holds: bool = True, error: Exception | None = None, hangs: bool = False
    ) -> None:
        async def scripted(setup: Setup, report: Report) -> None:
            report.see("client", "one answer", holds)
            if hangs:
                await trio.sleep_forever()
            if error is not None:
                raise error
            await trio.lowlevel.checkpoint()

        monkeypatch.setitem(EXPERIMENTS, key, replace(EXPERIMENTS[key], run=scripted))

    return replace_run


def run_lab(*arguments: str, color: bool = False) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli, ["lab", *arguments], color=color, catch_exceptions=False)


def test_an_experiment_that_must_see_it_and_does_not_is_loud(script: Script) -> None:
    script("G4", holds=True)
    result = run_lab("--break", NAME)
    assert result.exit_code == 3
    assert result.output.splitlines()[-1] == f"{NAME} was NOT SEEN by G4: the lab is blind to it"
    found = run_lab("--break", NAME, "--json")
    assert found.exit_code == 3
    assert json.loads(found.stdout)["missed_by"] == ["G4"]


def test_one_of_two_that_does_not_see_it_is_loud(script: Script) -> None:
    script("G4", holds=True)
    script("G6", holds=False)
    result = run_lab("--break", "cancelled_swallowed")
    assert result.exit_code == 3
    assert result.output.splitlines()[-2:] == [
        "cancelled_swallowed was seen by G6",
        "cancelled_swallowed was NOT SEEN by G4: the lab is blind to it",
    ]


def test_experiments_that_are_named_are_run_and_no_others(script: Script) -> None:
    """One that does not look for the breakage is not blind to it; the command says which one does."""
    script("G4", error=AssertionError("not named"))
    script("G5", holds=True)
    result = run_lab("--break", NAME, "g5")
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == f"{NAME} is not what these experiments look for: G4 must see it"
    script("G5", holds=False)
    result = run_lab("--break", NAME, "G5")
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == f"{NAME} was seen by G5"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ServerFailed("`fanout serve` did not start: why"), "server `fanout serve` did not start: why"),
        (VirtualPartCrashed("Traceback:\n ...\nKeyError: 1\n", 1), "virtual time it crashed: KeyError: 1"),
    ],
)
def test_a_server_that_fails_is_an_observation(script: Script, error: Exception, text: str) -> None:
    script("G4", error=error)
    result = run_lab("--break", NAME)
    assert result.exit_code == 1
    assert text in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_a_server_that_hangs_is_an_observation(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BROKEN_WITHIN_S", 0.05)
    script("G4", hangs=True)
    result = run_lab("--break", NAME)
    assert result.exit_code == 1
    assert "seen   client  one answer" in result.output
    assert "BROKEN server  the experiment does not end within 0.05 s" in result.output


def test_what_the_machine_lacks_is_no_observation(script: Script) -> None:
    script("G4", error=CannotRun("there is no socket table"))
    result = run_lab("--break", NAME)
    assert result.exit_code == 3
    assert result.stderr == "fanout lab: there is no socket table\n"
    assert "was seen by" not in result.stdout


def test_the_diff_is_coloured_on_a_terminal(script: Script) -> None:
    script("G4", holds=False)
    result = run_lab("--break", NAME, color=True)
    assert click.style(REMOVED, fg="red") in result.output
    assert click.style("+++ b/fanout/race/race.py", bold=True) in result.output


def test_the_list_has_all_of_them_and_begins_with_those_that_show_most() -> None:
    result = run_lab("--breakages")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert tuple(line.split()[0] for line in lines[: len(SHOWN_FIRST)]) == SHOWN_FIRST
    assert sorted(line.split()[0] for line in lines) == list(breakages())
    for line in lines:
        breakage = breakages()[line.split()[0]]
        assert line.endswith(breakage.title)
        assert ", ".join(breakage.guarantees) in line
    shown = run_lab("--help").output
    assert [name for name in breakages() if f"fanout lab --break {name}" in shown] == sorted(SHOWN_FIRST)


def test_the_table_says_what_was_seen_without_the_breakage_and_with_it() -> None:
    """`make lab-breakages`: the first thing that does not hold, next to what the same source said before."""

    def experiments(*seen: tuple[str, str, bool]) -> dict[str, list[dict[str, object]]]:
        keys = ("by", "text", "holds")
        return {"experiments": [{"id": "G4", "seen": [dict(zip(keys, each, strict=True)) for each in seen]}]}

    whole = experiments(("client", "200", True), ("pool", "0 in use", True), ("client", "in 32 ms", True))
    broken = experiments(("client", "200", True), ("client", "in 804 ms", False), ("pool", "1 in use", False))
    assert sights(whole, broken) == ["G4 client: in 32 ms → in 804 ms"]
    assert sights(whole, whole) == []
    assert sights(whole, experiments(("server", "it ended", False))) == ["G4 server: it ended"]
