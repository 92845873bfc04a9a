"""The monitor and the judge see the same, and every clause of every formula can be broken.

The bad traces are those of the judge's own tests: a sound run falsified in one place, or sabotaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import trio.testing

from fanout.testing import monitor
from fanout.testing.monitor.monitor import Monitor, Violation, all_clauses, violations_of
from fanout.testing.world import judge as judge_module
from fanout.testing.world.draw import draw_plan
from fanout.testing.world.ended import Ended
from fanout.testing.world.judge import judge
from fanout.testing.world.records import records_of
from fanout.testing.world.scheduler import run_seeded
from fanout.testing.world.sweep import run_seed
from fanout.testing.world.world import World, run_plan
from tests.testing.world.plans import answers, plan_of, race
from tests.testing.world.test_judge import (
    FALSIFICATIONS,
    SABOTAGES,
    Falsify,
    Sabotaged,
    no_requests,
    refused_world,
    shed_world,
    sound_world,
    streams_world,
)

# What the monitor does not see, and why.
UNSEEN: Final = {
    "something_is_left": "it is a sentence that the simulation run has written for the judge",
    "a_silent_address_is_tried_first_for_ever": "no formula: it takes the times of all calls at once",
    "goaway_comes_early": "no formula knows of GOAWAY",
    "no_goaway": "no formula knows of GOAWAY",
    "a_client_is_not_waited_for": "a connection that waits for room is no record",
    "too_many_frames_for_it": "no formula knows of GOAWAY",
    "a_ping_is_not_answered": "a ping is no request",
    "a_head_is_held_back": "an answer begins when the application sends it",
    "malformed_and_reset_late": "no formula says when a malformed request is answered",
}
SEEDS: Final = (4, 12, 27)


@cache
def falsified(base: Callable[[], Ended], falsify: Falsify) -> list[Violation]:
    ended = base()
    assert violations_of(records_of(ended, 0)) == []
    falsify(ended)
    return violations_of(records_of(ended, 0))


@cache
def sabotaged(sabotage: Callable[[World], None]) -> list[Violation]:
    plan = plan_of(race(1, answers(100), answers(200), closes=True))

    async def main(clock: trio.testing.MockClock) -> Ended:
        return await Sabotaged(plan, clock, sabotage).run()

    return violations_of(records_of(run_seeded(main, 0), 0))


@pytest.mark.parametrize(
    ("base", "falsify"),
    [(base, falsify) for base, falsify, *_ in FALSIFICATIONS],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_the_judge_finds_false_breaks_a_formula(base: Callable[[], Ended], falsify: Falsify) -> None:
    assert bool(falsified(base, falsify)) == (falsify.__name__ not in UNSEEN)


@pytest.mark.parametrize(
    "sabotage", [sabotage for sabotage, _ in SABOTAGES], ids=lambda sabotage: sabotage.__name__
)
def test_what_the_judge_finds_sabotaged_breaks_a_formula(sabotage: Callable[[World], None]) -> None:
    assert sabotaged(sabotage)


@pytest.mark.parametrize(
    ("name", "guarantee"),
    [
        ("no_answer", "G1"),
        ("much_later", "G2"),
        ("a_call_ends_late", "G3"),
        ("another_winner", "G4"),
        ("out_of_order", "G5"),
        ("calls_end_after_the_disconnect", "G6"),
        ("a_dirty_connection", "G7"),
        ("overload_without_load", "G8"),
        ("a_slow_drain", "G9"),
        ("a_call_waits", "G10"),
        ("a_crash_is_another_error", "G11"),
    ],
)
def test_it_names_the_guarantee(name: str, guarantee: str) -> None:
    ((base, falsify),) = [(base, falsify) for base, falsify, *_ in FALSIFICATIONS if falsify.__name__ == name]
    assert guarantee in {violation.guarantee for violation in falsified(base, falsify)}


@cache
def drawn() -> tuple[list[dict[str, Any]], Monitor]:
    """The records of some runs, and a monitor that has seen them."""
    checks, records = Monitor(), []
    for seed in SEEDS:
        ended = run_plan(draw_plan(seed, 120), seed)
        assert judge(ended) == []
        records += [dict(record) for record in records_of(ended, seed)]
    assert [str(violation) for record in records for violation in checks.check(record)] == []
    return records, checks


def test_in_a_simulation_every_formula_is_visible_and_kept() -> None:
    _, checks = drawn()
    assert {guarantee: tally.word for guarantee, tally in checks.tallies.items()} == dict.fromkeys(
        (f"G{number}" for number in range(1, 13)), "kept"
    )
    assert {guarantee: tally.unseen for guarantee, tally in checks.tallies.items() if tally.unseen} == {}


def changes(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The record, changed in one field: another time, another number, another word, the contrary."""
    for name, value in record.items():
        others: list[Any] = []
        match value:
            case bool():
                others = [not value]
            case float():
                others = [value + 0.5, value + 100, value - 0.5, None]
            case int():
                others = [value + 10_001, 503, 408]
            case None:
                others = [0.0, "deadline"]
            case str():
                others = [
                    "overloaded",
                    "draining",
                    "no_success",
                    "deadline",
                    "internal",
                    "failed",
                    "ok",
                    "first",
                ]
            case [dict(), *_]:
                others = [
                    [*value[:place], changed, *value[place + 1 :]]
                    for place, one in enumerate(value)
                    for changed in changes(one)
                ]
            case list():
                others = [[*value, "more"], value[1:]] if value else [["more"]]
        for other in others:
            yield record | {name: other}


def test_every_clause_can_be_broken() -> None:
    """By a change of one field of one record. A clause that cannot be broken says nothing."""
    traces = [
        list(records_of(base(), 0))
        for base in (sound_world, no_requests, refused_world, streams_world, shed_world)
    ]
    records = [dict(record) for trace in traces for record in trace]
    records += [{"kind": "leak", "id": "w1", "text": "a task is alive"}, *drawn()[0]]
    never_broken = {clause.text for _, clause in all_clauses()}
    checks = Monitor()
    run = records[0]
    for record in records:
        if record["kind"] == "run":
            run = record
            list(checks.check(run))
            continue
        for changed in [record, *changes(record)]:
            with suppress(AttributeError, TypeError, ValueError):  # no value that the field can have
                never_broken -= {violation.clause for violation in checks.check(changed)}
        if record["kind"] == "end":
            for changed in changes(run):
                with suppress(TypeError, ValueError):
                    list(checks.check(changed))
                    never_broken -= {violation.clause for violation in checks.check(record)}
        if not never_broken:
            return
    assert never_broken == set()


def test_a_violation_is_one_line_with_its_formula_its_request_and_its_times() -> None:
    ((base, falsify),) = [
        (base, falsify) for base, falsify, *_ in FALSIFICATIONS if falsify.__name__ == "later"
    ]
    (violation,) = falsified(base, falsify)
    assert str(violation) == (
        "G4 w1: not so: it comes at once: r.arrived=0.000000, r.asks=first, r.status=200, r.began=+0.101, "
        "r.left=+0.31997, calls: ok +0.1, cancelled +0.1"
    )


def test_a_run_in_which_only_one_of_the_two_sees_something_is_a_disagreement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = run_seed(4, 20)
    assert (sound.violations, sound.formulas, sound.disagree) == ((), {}, False)
    monkeypatch.setattr("fanout.testing.world.sweep.judge", lambda ended: [judge_module.Violation("w1", "")])
    assert run_seed(4, 20).disagree


def test_the_monitor_knows_nothing_of_the_simulation() -> None:
    """They are written apart: no module of the monitor imports one of the simulation."""
    files = list(Path(monitor.__file__).parent.glob("*.py"))
    assert len(files) > 5
    assert [file.name for file in files if "fanout.testing.world" in file.read_text("utf-8")] == []
