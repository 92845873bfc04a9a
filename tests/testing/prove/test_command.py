"""`fanout prove`: what it prints, how it ends, and a failing schedule, shrunk and next to a passing one."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest
from click.testing import CliRunner, Result

from fanout.cli import cli
from fanout.testing.prove import world
from fanout.testing.prove.choices import schedule_of
from fanout.testing.prove.failure import first_difference, nearest_passing, shrunk, side_by_side
from fanout.testing.prove.scenarios import SCENARIOS
from fanout.testing.prove.world import prove
from fanout.testing.world.ended import Ended
from fanout.testing.world.judge import Violation
from fanout.testing.world.trace import Happening

FIRST = SCENARIOS["first"]


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["prove", "--processes", "1", *arguments])


def interruptions(ended: Ended) -> list[str]:
    return [f"{h.of}.{h.more}" for h in ended.trace.happenings if h.what == "interrupt"]


def resets_are_broken(ended: Ended) -> list[Violation]:
    """A judge for whom every reset while the calls run breaks a guarantee."""
    is_reset = "c0.rst" in interruptions(ended) and ended.requests and ended.requests[0].calls
    return [Violation("w1", "G6: for the test")] if is_reset else []


@pytest.fixture
def resets_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "judge", resets_are_broken)


def place_of(take: str, nth: int = 0) -> int:
    return [at for at, alternatives in prove(FIRST, ()).after if take in alternatives][nth]


def test_it_counts_runs_traces_and_states() -> None:
    run = command("--deviations", "0", "--scenario", "first", "--scenario", "all", "--json")
    assert run.exit_code == 0, run.output
    said = json.loads(run.stdout)
    assert (said["deviations"], said["runs"], said["failing"]) == (0, 2, None)
    assert said["scenarios"].keys() == {"first", "all"}
    assert said["scenarios"]["first"]["runs_by_deviations"] == [1]
    assert said["states"] == sum(each["states"] for each in said["scenarios"].values()) > 2
    assert said["traces"] == 2


def test_it_says_what_held() -> None:
    run = command("--deviations", "1", "--scenario", "crash")
    assert run.exit_code == 0, run.output
    lines = run.stdout.splitlines()
    assert re.fullmatch(r"crash +32 +\d+ +\d+ +\d+  the application raises", lines[1])
    kept = "every schedule with at most 1 deviation kept every guarantee: 32 schedules in"
    assert lines[-1].startswith(kept)
    assert "\x1b[" not in run.output


@pytest.mark.usefixtures("resets_fail")
def test_a_failure_is_shown_with_the_command_that_repeats_it() -> None:
    run = command("--deviations", "2", "--scenario", "first")
    assert run.exit_code == 1
    assert "a schedule with 1 deviation broke a guarantee, and none with fewer" in run.stdout
    assert "broken: w1: G6: for the test" in run.stdout
    assert "call 0 |" in run.stdout
    assert re.search(r"^fails: \d+:c0\.rst +passes: ", run.stdout, re.MULTILINE)
    assert re.search(r"^first difference: .+ where it fails, .+ where it passes$", run.stdout, re.MULTILINE)
    repeat = shlex.split(run.stdout.splitlines()[-1].removeprefix("repeat it: "))
    assert repeat[:2] == ["fanout", "prove"]
    again = CliRunner().invoke(cli, repeat[1:])
    assert again.exit_code == 1
    assert "broken: w1: G6: for the test" in again.stdout
    found = json.loads(CliRunner().invoke(cli, [*repeat[1:], "--json"]).stdout)
    assert found["failing"]["violations"] == ["w1: G6: for the test"]
    assert shlex.split(found["failing"]["repeat"]) == repeat


@pytest.mark.usefixtures("resets_fail")
def test_a_schedule_is_shrunk_to_the_deviations_that_matter() -> None:
    """The order of tasks at the first choice has nothing to do with it; the reset has."""
    first, reset = place_of("2nd"), place_of("c0.rst", -1)
    for schedule in (f"{first}:2nd,{reset}:c0.rst", f"{reset}:c0.rst"):
        small = shrunk(FIRST, schedule_of(schedule))
        assert [deviation.take for deviation in small] == ["c0.rst"]
        assert prove(FIRST, small).violations


@pytest.mark.long
def test_what_is_broken_without_a_deviation_shrinks_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "judge", lambda ended: [Violation("w1", "G4: for the test")])
    assert shrunk(FIRST, schedule_of(f"{place_of('2nd')}:2nd")) == ()
    assert nearest_passing(FIRST, (), prove(FIRST, ())) is None
    run = command("--deviations", "2", "--scenario", "first")
    assert run.exit_code == 1
    assert "no deviation fails, and so does every schedule next to it" in run.stdout


@pytest.mark.usefixtures("resets_fail")
def test_the_nearest_passing_schedule_is_the_same_for_the_longest_time() -> None:
    """A little earlier, before any call is made, a reset breaks nothing for this judge."""
    failing_at = next(
        at
        for at, alternatives in prove(FIRST, ()).after
        if "c0.rst" in alternatives and prove(FIRST, schedule_of(f"{at}:c0.rst")).violations
    )
    failing = prove(FIRST, schedule_of(f"{failing_at}:c0.rst"))
    found = nearest_passing(FIRST, schedule_of(f"{failing_at}:c0.rst"), failing)
    assert found is not None
    schedule, passing = found
    assert (passing.violations, len(schedule) <= 1) == ((), True)
    undisturbed = prove(FIRST, ())
    assert first_difference(failing, passing) >= first_difference(failing, undisturbed) > 2


def test_two_runs_stand_side_by_side() -> None:
    same, left, right = Happening(0, "ask", "w1"), Happening(1, "left", "c0"), Happening(1, "answer", "c0")
    lines = list(side_by_side([same, left, left], [same, right]))
    assert [" | " in line or line.endswith(" <") for line in lines] == [False, True, True]
    assert lines[0].count("w1     ask") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--schedule", "4:2nd"], "--schedule: name the one --scenario that it belongs to"),
        (["--schedule", "x", "--scenario", "first"], "--schedule 'x': 'x' is not a deviation such as"),
        (["--schedule", "999:2nd", "--scenario", "first"], "--schedule 999:2nd: the run has 35 choices"),
        (["--schedule", "1:c7.fin", "--scenario", "first"], "--schedule 1:c7.fin: there, it is one of"),
        (["--deviations", "99"], "99 is not in the range"),
        (["--scenario", "nothing"], "'nothing' is not one of"),
    ],
)
def test_bad_usage_is_one_line(arguments: Sequence[str], said: str) -> None:
    run = command(*arguments)
    assert run.exit_code == 2
    assert said in run.output


def test_a_schedule_that_passes_is_shown() -> None:
    run = command("--scenario", "first", "--schedule", f"{place_of('c0.fin')}:c0.fin")
    assert run.exit_code == 0, run.output
    assert "interrupt fin" in run.stdout
    assert run.stdout.splitlines()[-1].endswith("choices: every guarantee was kept")


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


@pytest.mark.long
def test_a_breakage_is_found_and_the_command_finds_it_again() -> None:
    """In a process with the code broken, which is then the only one: G6."""
    broken = ("fanout.testing.breakages", "disconnect_not_noticed", "fanout", "prove")
    search = program(*broken, "--scenario", "first", "--deviations", "1", "--processes", "2", "--json")
    run = subprocess.run(search, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 1, run.stderr
    failing = json.loads(run.stdout)["failing"]
    assert failing["deviations"] == 1
    assert failing["violations"][0].startswith("w1: G6: ")
    assert prove(FIRST, schedule_of(failing["nearest_passing"]["schedule"])).violations == ()
    repeat = program(*broken, *shlex.split(failing["repeat"])[2:])
    again = subprocess.run(repeat, capture_output=True, text=True, check=False, timeout=60)
    assert (again.returncode, "broken: w1: G6: " in again.stdout) == (1, True)


def test_ctrl_c_is_one_line() -> None:
    search = program("fanout", "prove", "--deviations", "6", "--scenario", "first")
    with subprocess.Popen(search, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while not run.stderr.readline().startswith("2 deviations: "):
            pass
        run.send_signal(signal.SIGINT)
        stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 130
    assert stdout == ""
    *progress, last = stderr.splitlines()
    assert re.fullmatch(r"fanout prove: stopped after [\d,]+ runs; no guarantee was broken in them", last)
    assert all(line.startswith("2 deviations: ") for line in progress)  # it may come before the signal
