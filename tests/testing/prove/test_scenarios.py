"""The scenarios are what they say, every interruption is offered, and the search leaves nothing out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from math import comb

import pytest

from fanout.testing.prove import search
from fanout.testing.prove.choices import Choices, Schedule, extensions, schedule_of
from fanout.testing.prove.scenarios import SCENARIOS, TITLES
from fanout.testing.prove.search import run_extensions
from fanout.testing.prove.world import Proved, ProvedWorld, prove
from fanout.testing.world.judge import Violation
from fanout.testing.world.met import met
from fanout.testing.world.plan import Plan
from fanout.testing.world.processes import Processes
from fanout.testing.world.trace import Trace

MEETS = {
    "failover": "the loser is cancelled",
    "silence": "a call is cancelled in the middle of its answer",
    "tie": "an answer at the deadline loses",
    "no-time": "the time is over before a call is made",
    "connecting": "a second address is tried",
    "bug": "a call raises",
    "crash": "the application raises",
    "pipelined": "a request is answered behind another one",
    "half-read": "a call is cancelled in the middle of its answer",
    "retry": "a call is made again because its reused connection was dead",
    "broken": "a call fails, and the answer is a success",
    "overload": "a request is over the limit of those in flight",
}
DIGEST_PROGRAM = """
from fanout.testing.prove.choices import schedule_of
from fanout.testing.prove.scenarios import SCENARIOS
from fanout.testing.prove.world import prove
proved = prove(SCENARIOS["half-read"], schedule_of("10:2nd,13:c0.rst"))
print(proved.trace.digest(), proved.choices, sorted(proved.states))
"""


def usual(name: str) -> Proved:
    return prove(SCENARIOS[name], ())


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_usual_run_keeps_every_guarantee_and_meets_what_the_scenario_is_for(name: str) -> None:
    proved = usual(name)
    assert proved.violations == ()
    assert proved.ended is not None
    assert name in TITLES
    if name in MEETS:
        assert met(proved.ended)[MEETS[name]]


def test_a_thread_that_is_started_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    begins = ProvedWorld._drain_begins

    def begins_with_a_thread(world: ProvedWorld) -> None:
        thread = threading.Thread(target=bool)
        thread.start()
        thread.join()
        begins(world)

    monkeypatch.setattr(ProvedWorld, "_drain_begins", begins_with_a_thread)
    assert usual("first").violations == (Violation("server", "G12: 1 threads were started"),)


def test_two_requests_share_a_connection_and_a_pool_slot() -> None:
    for name in ("keep-alive", "pipelined"):
        ended = usual(name).ended
        assert ended is not None
        assert len(ended.connections) == 1
        second = ended.requests[1]
        attempts = [call.attempts[0] for call in second.calls.values()]
        assert any(attempt.reused for attempt in attempts)
        assert len(ended.wires) <= 3


def test_every_interruption_is_offered_and_happens_and_breaks_nothing() -> None:
    """G1 to G7, G9 and G11."""
    name = "keep-alive"
    after = usual(name).after
    offered = Counter(take.rpartition(".")[2] for _, alternatives in after for take in alternatives)
    assert min(offered[take] for take in ("fin", "rst", "cancel", "deadline", "sigterm", "2nd")) > 4
    seen = set()
    for schedule in extensions((), after):
        at, take = schedule[0].at, schedule[0].take
        proved = prove(SCENARIOS[name], schedule)
        did = [h for h in proved.trace.happenings if h.what in ("interrupt", "runs first")]
        assert len(did) == 1, (at, take)
        assert proved.violations == (), (at, take)
        seen.add(take.rpartition(".")[2])
        assert proved.ended is not None
        if take.endswith((".fin", ".rst")):
            assert proved.ended.connections[0].left_at is not None
        if take == "sigterm":
            assert proved.ended.signalled_at == did[0].at
    assert seen == offered.keys()


def test_late_arrivals_are_chosen() -> None:
    after = usual("late").after
    assert ("late1",) in [alternatives for _, alternatives in after]


def test_a_schedule_is_the_same_run_in_another_process() -> None:
    here = prove(SCENARIOS["half-read"], schedule_of("10:2nd,13:c0.rst"))
    run = subprocess.run(
        [sys.executable, "-c", DIGEST_PROGRAM],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert run.stdout.strip() == f"{here.trace.digest()} {here.choices} {sorted(here.states)}"


@pytest.mark.parametrize("name", ["no-time", "crash"])
def test_no_schedule_with_one_deviation_breaks_a_guarantee(name: str) -> None:
    """G1 to G7, G9 and G11. CI runs all scenarios: `make prove ARGS="--deviations 1"`."""
    part = run_extensions(name, ())
    assert part.failing is None
    assert part.runs == len(part.extended) == sum(len(names) for _, names in usual(name).after)


def test_the_search_runs_the_whole_bound_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with six choices between a default and two alternatives: the closed formula."""

    def six_choices(plan: Plan, schedule: Schedule) -> Proved:
        choices = Choices(schedule)
        for _ in range(6):
            choices.choose(("a", "b"))
        return Proved(None, (), Trace(kept=True), choices.after, choices.made, set())

    monkeypatch.setattr(search, "prove", six_choices)
    with Processes(1) as processes:
        for level in search.levels(["first", "all"], 3, processes):
            parts = list(level.parts)
            schedules = [(part.scenario, schedule) for part in parts for schedule, _ in part.extended]
            assert len(schedules) == len(set(schedules)) == level.runs == sum(part.runs for part in parts)
            assert level.runs == 2 * comb(6, level.deviations) * 2**level.deviations
    assert level.deviations == 3


def test_the_search_ends_with_the_first_schedule_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Violation("w1", "G4: for the test")

    def fails_later(plan: Plan, schedule: Schedule) -> Proved:
        violations = (broken,) if schedule == schedule_of("2:a") else ()
        return Proved(None, violations, Trace(kept=True), [(1, ("a",)), (2, ("a",)), (3, ("a",))], 3, set())

    monkeypatch.setattr(search, "prove", fails_later)
    part = search.run_extensions("first", ())
    assert part.failing == search.Failing("first", schedule_of("2:a"), (broken,))
    assert part.runs == 2
