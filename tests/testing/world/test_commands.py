"""`fanout simulate` and `fanout replay`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fanout.cli import cli
from fanout.testing.world import replay, sweep
from fanout.testing.world.ended import Ended
from fanout.testing.world.judge import Violation


def one_violation(ended: Ended) -> list[Violation]:
    return [Violation("w1", "G4: for the test")]


def test_simulate_counts_and_says_how_fast() -> None:
    run = CliRunner().invoke(
        cli, ["simulate", "--seeds", "2", "--requests", "10", "--processes", "1", "--json"]
    )
    assert run.exit_code == 0, run.output
    said = json.loads(run.output)
    assert (said["seeds"], said["violations"], said["failing_seeds"]) == (2, 0, [])
    assert 0 < said["requests"] <= 20
    assert said["requests_per_cpu_hour"] > 0


def test_simulate_says_how_many_situations_so_few_requests_must_meet() -> None:
    """Twenty requests prove nothing of any of them."""
    run = CliRunner().invoke(cli, ["simulate", "--seeds", "2", "--requests", "10", "--processes", "1"])
    assert "so many requests must meet 0 of these" in run.output


def test_simulate_fails_with_the_command_that_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "judge", one_violation)
    run = CliRunner().invoke(
        cli, ["simulate", "--seeds", "1", "--first-seed", "5", "--requests", "10", "--processes", "1"]
    )
    assert run.exit_code == 1
    assert "w1: G4: for the test" in run.output
    assert "fanout replay --seed 5 --requests 10" in run.output


def test_replay_shows_a_timeline_and_no_colours_in_a_pipe(tmp_path: Path) -> None:
    trace = tmp_path / "world.json"
    run = CliRunner().invoke(cli, ["replay", "--seed", "5", "--requests", "20", "--trace", str(trace)])
    assert run.exit_code == 0, run.output
    assert "every guarantee was kept" in run.output
    assert "\x1b[" not in run.output
    assert "call 0 |" in run.output
    events = json.loads(trace.read_text())["traceEvents"]
    assert {"M", "X", "i"} <= {event["ph"] for event in events}
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")


def test_replay_as_json_is_the_same_every_time() -> None:
    runs = [
        CliRunner().invoke(cli, ["replay", "--seed", "6", "--requests", "20", "--json"]) for _ in range(2)
    ]
    assert runs[0].exit_code == 0
    assert runs[0].output == runs[1].output
    assert {"trace_sha256", "violations", "happenings"} <= json.loads(runs[0].output).keys()


def test_replay_shows_what_was_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "judge", one_violation)
    run = CliRunner().invoke(cli, ["replay", "--seed", "7", "--requests", "50", "--only", "w1"])
    assert run.exit_code == 1
    assert "broken: w1: G4: for the test" in run.output


def test_replay_says_how_many_requests_were_never_sent_and_why() -> None:
    """This run's graceful shutdown comes before most of its requests."""
    run = CliRunner().invoke(cli, ["replay", "--seed", "7", "--requests", "50", "--show", "1"])
    assert run.exit_code == 0, run.output
    assert run.output.startswith("seed 7: 12 of 50 requests over ")
    assert ", before the other 38 were sent\n" in run.output
    assert "11 more: --show 12 shows all, --only w" in run.output


def test_replay_of_a_whole_run_has_no_such_note() -> None:
    run = CliRunner().invoke(cli, ["replay", "--seed", "8", "--requests", "50", "--show", "1"])
    assert run.output.startswith("seed 8: 50 requests over ")
    assert "before the other" not in run.output


def test_replay_of_a_request_that_is_not_there_names_those_that_are() -> None:
    """w5 was planned, and not sent."""
    for name in ("zz", "w5"):
        run = CliRunner().invoke(
            cli, ["replay", "--seed", "7", "--requests", "50", "--only", "w7", "--only", name]
        )
        assert run.exit_code == 2
        said = f"--only='{name}': use the name of a request of this run: w1 to w4, w7, w9, w18 to w21, "
        assert said in run.output
