"""Situations that a simulation run must have met: they are counted, and a run that misses one is red."""

from __future__ import annotations

import ast
import inspect
import json
from typing import Any

import pytest
from click.testing import CliRunner

from fanout.cli import cli
from fanout.testing.world import met as met_module
from fanout.testing.world import simulate
from fanout.testing.world.met import SITUATIONS, met, missed
from fanout.testing.world.plan import CallScript, ClientScript, DialScript, Leave, Plan, RequestScript
from fanout.testing.world.world import run_plan
from tests.testing.world.plans import answers, fails, plan_of, race
from tests.testing.world.test_judge import dead_address, shed_world, sound_world

SPOILS = CallScript("close_idle", 0)
TIE = CallScript(delay_ms=90, follows_reserve=True)  # of a timeout of 100 ms, with the reserve of 10


def met_by(*requests: RequestScript, **limits: Any) -> set[str]:
    counts = met(run_plan(plan_of(*requests, **limits), 0))
    return {name for name, count in counts.items() if count}


def test_every_situation_that_can_be_counted_is_listed_and_has_a_number_of_requests() -> None:
    source = ast.parse(inspect.getsource(met_module))
    words = {
        node.value
        for node in ast.walk(source)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    yielded = {word for word in words if word.startswith(("a ", "an ", "the ")) and len(word) < 80}
    by_leaving = {f"a client leaves by {how} during the shutdown" for how in ("fin", "rst", "half")}
    assert set(SITUATIONS) == (yielded - {"a client leaves by "}) | by_leaving
    assert min(SITUATIONS.values()) > 0


@pytest.mark.parametrize(("number", "name"), [(2, "loses"), (6, "wins")])
def test_an_answer_at_the_deadline_is_counted_as_what_it_came_to(number: int, name: str) -> None:
    """To the same bit the deadline is seen first; one bit before it, the answer."""
    once = race(number, TIE, answers(500), timeout_ms=100)
    assert f"an answer at the deadline {name}" in met_by(once)


def test_calls_and_their_endings_are_counted() -> None:
    crash = CallScript(dials=(DialScript("crash", 1),))
    hangs = CallScript(dials=(DialScript("hang"),))
    once = race(1, SPOILS, SPOILS, ask="all"), race(2, answers(9), answers(9), ask="all", gap_ms=5)
    assert "a call is made again because its reused connection was dead" in met_by(*once)
    assert "a call raises" in met_by(race(1, crash, answers(9)))
    assert "a call is cancelled while it connects" in met_by(race(1, hangs, answers(9)))
    assert "the loser is cancelled" in met_by(race(1, answers(5), answers(9)))
    assert "a call fails, and the answer is a success" in met_by(race(1, fails("status"), answers(9)))
    assert "the time is over before a call is made" in met_by(race(1, answers(5), answers(9), timeout_ms=1))
    counts = met(dead_address())
    assert counts["a dead address is tried"]


def test_what_clients_do_is_counted() -> None:
    leaves = race(1, answers(50), answers(60), leave=Leave("rst", 10))
    assert "the client leaves while calls run" in met_by(leaves)
    assert "a client leaves by rst during the shutdown" in met_by(leaves, drain_at_ms=5)
    assert "a request is in flight when the shutdown begins" in met_by(leaves, drain_at_ms=5)
    assert "a request comes in the lame duck" in met_by(
        race(1, answers(5), answers(9), gap_ms=20), drain_at_ms=10, lame_duck_ms=50
    )
    two = tuple(ClientScript((race(n, answers(5), answers(9)),), at_ms=n) for n in (1, 2))
    assert met(run_plan(Plan(two, max_in_flight=1), 0))["a request is over the limit of those in flight"]
    assert met(shed_world())["a request is shed before it is parsed"]


def test_a_sound_run_of_a_few_requests_misses_nothing_and_of_many_does() -> None:
    counts = met(sound_world())
    assert missed(counts, 5) == []
    assert "a dead address is tried" in missed(counts, 10_000_000)
    assert "the loser is cancelled" not in missed(counts, 10_000_000)


def test_a_green_run_that_has_missed_a_situation_is_red(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["simulate", "--seeds", "1", "--requests", "10", "--processes", "1"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    monkeypatch.setitem(SITUATIONS, "a dead address is tried", 5)
    run = CliRunner().invoke(cli, arguments)
    assert run.exit_code == 1
    assert "not met, though 5 requests always do: a dead address is tried\n" in run.output
    said = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).output)
    assert said["missed"] == ["a dead address is tried"]
    assert said["met"].keys() == SITUATIONS.keys()


def test_a_long_run_has_no_more_variety_than_a_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """So its requests beyond that do not count."""
    monkeypatch.setattr(simulate, "MOST_PER_RUN", 5)
    monkeypatch.setitem(SITUATIONS, "a dead address is tried", 6)
    arguments = ["simulate", "--seeds", "1", "--requests", "10", "--processes", "1"]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
