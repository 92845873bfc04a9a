"""Situations that a simulation run must have met: they are counted, and a run that misses one is red."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import replace
from math import inf, nextafter
from typing import Any

import pytest
from click.testing import CliRunner

from fanout.cli import cli
from fanout.testing.world import met as met_module
from fanout.testing.world import met_streams, simulate
from fanout.testing.world.facts import Attempt, ConnectionFacts
from fanout.testing.world.met import SITUATIONS, met, missed
from fanout.testing.world.oracle import INSTANT_S
from fanout.testing.world.plan import CallScript, ClientScript, DialScript, Leave, Plan, RequestScript
from fanout.testing.world.upstreams import SWALLOWED
from fanout.testing.world.world import run_plan
from tests.testing.world.made import answered, asked, called, connection, ended_run, wire
from tests.testing.world.plans import answers, fails, plan_of, race
from tests.testing.world.test_judge import dead_address, shed_world, sound_world

SPOILS = CallScript("close_idle", 0)
TIE = CallScript(delay_ms=90, follows_reserve=True)  # of a timeout of 100 ms, with the reserve of 10


def met_by(*requests: RequestScript, **limits: Any) -> set[str]:
    counts = met(run_plan(plan_of(*requests, **limits), 0))
    return {name for name, count in counts.items() if count}


def test_every_situation_that_can_be_counted_is_listed_and_has_a_number_of_requests() -> None:
    words = {
        node.value
        for module in (met_module, met_streams)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    yielded = {word for word in words if word.startswith(("a ", "an ", "the ")) and len(word) < 80}
    by_leaving = {f"a client leaves by {how} during the shutdown" for how in ("fin", "rst", "half")}
    assert set(SITUATIONS) == (yielded - {"a client leaves by "}) | by_leaving
    assert {*SITUATIONS.values()} == {20_000, 60_000, 200_000, 500_000}, "orders of magnitude, as measured"


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


# Each situation by facts made by hand, and what is next to it


def met_in(*connections: ConnectionFacts, **facts: Any) -> dict[str, int]:
    """What is counted, without the situations that nothing has met."""
    counts = met(ended_run(*connections, **{"drained_at": 100.0, **facts}))
    return {name: count for name, count in counts.items() if count}


def raced(
    *outcomes: str, ask: str = "first", answer: int | None = 200, left_at: float | None = None
) -> dict[str, int]:
    """What is counted of a race whose calls came to that. It is answered at once, if at all."""
    one = connection(left_at=left_at)
    request = asked(one, race(1, ask=ask))
    for outcome in outcomes:
        called(request, outcome=outcome)
    if answer == 200:
        answered(one, 200, 0.0)
    elif answer is not None:
        answered(one, answer, 0.0, reason="deadline")
    return met_in(one)


@pytest.mark.parametrize(
    ("outcomes", "ask", "answer", "left_at", "expected"),
    [
        (("success", "cancelled"), "first", 200, None, {"the loser is cancelled"}),
        (("success", "cancelled"), "first", 500, None, set()),
        (("success", "success"), "first", 200, None, set()),
        (("success", "broken"), "first", 200, None, {"a call fails, and the answer is a success"}),
        (("success", "broken"), "all", 200, None, {"a call fails, and the answer is a success"}),
        (("success", "cancelled"), "all", 200, None, {"a call fails, and the answer is a success"}),
        (("success", "crashed"), "first", 500, None, {"a call raises"}),
        ((), "first", 500, None, {"the time is over before a call is made"}),
        ((), "first", 200, None, set()),
        ((), "first", None, None, set()),
        ((), "first", None, 5.0, set()),
        (("broken", "cancelled"), "first", None, 5.0, {"the client leaves while calls run"}),
        (("success", "cancelled"), "all", None, 5.0, {"the client leaves while calls run"}),
        (
            ("success", "cancelled"),
            "first",
            None,
            5.0,
            {"the client leaves between the verdict and the answer"},
        ),
        (("broken", "broken"), "all", None, 5.0, {"the client leaves between the verdict and the answer"}),
        (("success", "cancelled"), "first", None, None, set()),
        (("success", "cancelled"), "first", 200, 5.0, {"the loser is cancelled"}),
    ],
)
def test_what_a_race_came_to_is_counted_once(
    outcomes: tuple[str, ...], ask: str, answer: int | None, left_at: float | None, expected: set[str]
) -> None:
    assert raced(*outcomes, ask=ask, answer=answer, left_at=left_at) == dict.fromkeys(expected, 1)


def simple(number: int = 1, ask: Any = "fixed", **manners: Any) -> RequestScript:
    return RequestScript(number, b"GET / HTTP/1.1\r\nhost: a\r\n", ask, status=303, **manners)


@pytest.mark.parametrize(
    ("entered_at", "first_at", "left_at", "is_met"),
    [
        (10.0, 10.5, None, True),
        (10.0, 10.0, None, False),  # it was answered by then
        (10.5, 11.0, None, False),  # it came later
        (9.0, None, 10.5, True),
        (9.0, None, 10.0, False),
        (9.0, None, None, False),
        (9.0, 9.5, 10.5, False),
    ],
)
def test_a_request_in_flight_at_the_shutdown_is_counted(
    entered_at: float, first_at: float | None, left_at: float | None, is_met: bool
) -> None:
    one = connection(left_at=left_at)
    asked(one, simple(), entered_at=entered_at)
    if first_at is not None:
        answered(one, 303, first_at)
    found = met_in(one, drained_at=10.0)
    assert found == ({"a request is in flight when the shutdown begins": 1} if is_met else {})


@pytest.mark.parametrize(
    ("entered_at", "lame_duck_ms", "is_met"),
    [(5.0, 1, False), (5.1, 1, True), (9.9, 1, True), (10.0, 1, False), (5.1, 0, False)],
)
def test_a_request_in_the_lame_duck_is_counted(entered_at: float, lame_duck_ms: int, is_met: bool) -> None:
    one = connection()
    asked(one, simple(), entered_at=entered_at)
    answered(one, 303, entered_at)
    found = met_in(one, plan=Plan((), lame_duck_ms=lame_duck_ms), signalled_at=5.0, drained_at=10.0)
    assert found == ({"a request comes in the lame duck": 1} if is_met else {})


@pytest.mark.parametrize(
    ("how", "left_at", "is_met"),
    [
        ("fin", 10.1, True),
        ("half", 10.1, True),
        ("fin", 10.0, False),
        ("fin", None, False),
        (None, 10.1, False),
    ],
)
def test_a_client_that_leaves_in_the_shutdown_is_counted(
    how: Any, left_at: float | None, is_met: bool
) -> None:
    one = connection(left_at=left_at)
    asked(one, simple(leave=None if how is None else Leave(how, 0)), entered_at=None)
    found = met_in(one, drained_at=10.0)
    assert found == ({f"a client leaves by {how} during the shutdown": 1} if is_met else {})


def test_a_request_is_shed_or_rejected_or_over_the_limit() -> None:
    for entered_at, reason, was_full, expected in (
        (None, "overloaded", False, {"a request is shed before it is parsed"}),
        (None, "draining", False, set()),
        (0.0, "overloaded", True, {"a request is over the limit of those in flight"}),
        (0.0, "overloaded", False, set()),
        (0.0, "draining", False, {"a request is rejected in the shutdown"}),
    ):
        one = connection()
        asked(one, simple(), entered_at=entered_at, was_full=was_full)
        answered(one, 503, 0.0, reason=reason)
        assert met_in(one) == dict.fromkeys(expected, 1)
    one = connection()
    asked(one, simple(), entered_at=None)
    assert met_in(one) == {}


def test_a_crash_and_an_answer_behind_another_one_are_counted() -> None:
    one = connection()
    asked(one, simple(1, "crash"))
    answered(one, 500, 0.0)
    asked(one, simple(2, pipelined=True))
    assert met_in(one) == {"the application raises": 1}
    answered(one, 303, 0.0)
    assert met_in(one) == {"the application raises": 1, "a request is answered behind another one": 1}


ENDS_AT = 0.0 + (500 - (10 + 0.0)) / 1000
AT_THE_DEADLINE = CallScript(delay_ms=490, follows_reserve=True)


def tied(
    *,
    first_at: float = ENDS_AT,
    status: int = 200,
    ask: str = "first",
    script: CallScript = AT_THE_DEADLINE,
    stalls: Any = (),
    delay_ms: int = 490,
) -> set[str]:
    one = connection()
    request = asked(one, race(1, ask=ask, timeout_ms=500))
    called(request, script, outcome="success", delay_ms=delay_ms)
    called(request, CallScript(delay_ms=600), outcome="success", delay_ms=600)
    said: dict[str, Any] = {} if status == 200 else {"reason": "deadline"}
    answered(one, status, first_at, **said)
    return set(met_in(one, stalls=list(stalls)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"an answer at the deadline wins"}),
        ({"ask": "all"}, {"an answer at the deadline wins"}),
        ({"status": 500}, {"an answer at the deadline loses"}),
        ({"first_at": ENDS_AT + 9e-7}, {"an answer at the deadline wins"}),
        ({"first_at": ENDS_AT + 2e-6}, set()),
        ({"first_at": ENDS_AT - 2e-6}, set()),
        ({"delay_ms": 489}, set()),
        ({"script": CallScript(delay_ms=490)}, set()),
        ({"script": replace(AT_THE_DEADLINE, fault="status")}, set()),
        ({"stalls": [(0.4, 0.5)]}, {"the deadline comes while the loop stands still"}),
        ({"stalls": [(ENDS_AT, 0.5)]}, {"the deadline comes while the loop stands still"}),
        ({"stalls": [(0.4, ENDS_AT)]}, {"the deadline comes while the loop stands still"}),
        ({"stalls": [(0.6, 0.7)]}, {"an answer at the deadline wins"}),
    ],
)
def test_a_tie_at_the_deadline_is_counted(options: dict[str, Any], expected: set[str]) -> None:
    assert tied(**options) == expected


@pytest.mark.parametrize(
    ("ends_at", "first_at", "is_met"),
    [
        (0.0, INSTANT_S, True),
        (0.0, nextafter(INSTANT_S, inf), False),
        (INSTANT_S, 0.0, True),
        (nextafter(INSTANT_S, inf), 0.0, False),
    ],
)
def test_a_tie_is_one_to_the_instant(ends_at: float, first_at: float, is_met: bool) -> None:
    """Here the race ends at 0 s. ends_at: when the call does."""
    one = connection()
    request = asked(one, race(1, timeout_ms=10))
    follows = CallScript(follows_reserve=True)
    called(request, follows, started_at=ends_at, delay_ms=0, outcome="success")
    answered(one, 200, first_at)
    assert met_in(one) == ({"an answer at the deadline wins": 1} if is_met else {})


def test_every_connection_over_tls_that_was_answered_counts() -> None:
    ones = [connection(number) for number in range(3)]
    for one in ones:
        one.client = replace(one.client, tls=True)
        asked(one, simple())
    for one in ones[:2]:
        answered(one, 303, 0.0)
    assert met_in(*ones, connection(3)) == {"a client over TLS is answered": 2}


def test_a_stall_that_ends_before_the_deadline_makes_its_moment_uncertain() -> None:
    """Then it is not counted as a tie, and the deadline is in no stall."""
    assert tied(stalls=[(0.1, 0.2)]) == {"an answer at the deadline wins"}


def test_without_an_answer_there_is_no_tie() -> None:
    one = connection()
    called(asked(one, race(1, timeout_ms=500)), AT_THE_DEADLINE, outcome="success")
    assert met_in(one) == {}


REUSED_AND_NEW = (Attempt(wire=wire(), reused=True), Attempt(wire=wire()))
TRIED = (0.0, DialScript())


@pytest.mark.parametrize(
    ("outcome", "attempts", "cleanup_ms", "expected"),
    [
        ("crashed", (Attempt(wire=wire()),), 5, {"a call raises"}),
        ("success", (Attempt(wire=wire(), heard_bytes=9),), 5, set()),
        ("success", REUSED_AND_NEW, 0, {"a call is made again because its reused connection was dead"}),
        ("too_late", (Attempt(wire=wire()),), 0, {"a call is not sent because too little time is left"}),
        ("success", (Attempt(dials=[TRIED], wire=wire()),), 0, set()),
        ("success", (Attempt(dials=[TRIED, TRIED], wire=wire()),), 0, {"a second address is tried"}),
        ("success", (Attempt(dials=[TRIED, (0.0, SWALLOWED)], wire=wire()),), 0, {"a dead address is tried"}),
        ("success", (Attempt(dials=[(0.0, SWALLOWED), TRIED], wire=wire()),), 0, {"a dead address is tried"}),
        ("cancelled", (Attempt(dials=[TRIED]),), 0, {"a call is cancelled while it connects"}),
        ("cancelled", (Attempt(wire=wire()),), 0, set()),
        (
            "cancelled",
            (Attempt(wire=wire(), heard_bytes=1),),
            0,
            {"a call is cancelled in the middle of its answer"},
        ),
        ("cancelled", (Attempt(wire=wire()),), 1, {"the loop stands still in a clean-up"}),
    ],
)
def test_how_a_call_came_and_went_is_counted(
    outcome: str, attempts: tuple[Attempt, ...], cleanup_ms: int, expected: set[str]
) -> None:
    one = connection()
    called(asked(one, race(1)), CallScript(cleanup_ms=cleanup_ms), *attempts, outcome=outcome)
    assert met_in(one) == dict.fromkeys(expected, 1)


def test_a_call_that_was_not_tried_counts_for_nothing() -> None:
    one = connection()
    called(asked(one, race(1)), outcome="cancelled").attempts.clear()
    assert met_in(one) == {}


def test_how_connections_ended_is_counted_as_the_driver_counts_it() -> None:
    ends = {"evicted": 2, "over_limit": 3, "slow_head": 4, "slow_reader": 5, "drained": 6, "idle": 7}
    assert met_in(ends=ends) == {
        "an idle connection gives way to a new one": 2,
        "a connection is over the limit": 3,
        "a head comes too slowly": 4,
        "a client reads too slowly": 5,
        "the shutdown closes an idle connection": 6,
    }


def test_a_situation_is_missed_when_its_number_of_requests_has_come() -> None:
    name = "the loser is cancelled"
    within = SITUATIONS[name]
    assert (name in missed({}, within), name in missed({}, within - 1)) == (True, False)
    assert name not in missed({name: 1}, within)
    assert name in missed({name: 0}, within)
