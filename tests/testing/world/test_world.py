"""One world at a time: what is asked comes out, to the microsecond, and the same again in any process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import trio._core._run as trio_run

from fanout.testing.world.draw import draw_plan
from fanout.testing.world.ended import Ended
from fanout.testing.world.judge import judge
from fanout.testing.world.plan import CallScript, DialScript, Leave
from fanout.testing.world.world import run_plan
from fanout.tools.simulator.faults import FAULTS
from fanout.upstream.addresses import Addresses
from fanout.upstream.pool import OriginPool
from tests.testing.world.plans import answers, fails, plan_of, race

SEED, REQUESTS = 11, 120
DIGEST_PROGRAM = f"""
from fanout.testing.world.draw import draw_plan
from fanout.testing.world.world import run_plan
print(run_plan(draw_plan({SEED}, {REQUESTS}), {SEED}, traced=True).trace.digest())
"""


def statuses(ended: Ended) -> list[tuple[int, str]]:
    return [(a.status, a.reason) for connection in ended.connections for a in connection.answers]


def test_a_race_takes_exactly_as_long_as_its_winner() -> None:
    """G4. Nothing but the calls takes time in a world."""
    ended = run_plan(plan_of(race(1, answers(300), answers(200))), 0)
    (answer,) = ended.connections[0].reader.answers
    assert (answer.status, answer.json) == (200, {"time": 200, "tag": "w1.1"})
    assert answer.first_at - ended.requests[0].sent_at == pytest.approx(0.2)
    assert judge(ended) == []


def test_a_client_that_leaves_is_answered_nothing_and_leaves_nothing_behind() -> None:
    """G6. The calls and their connections end in the instant in which the client leaves."""
    ended = run_plan(plan_of(race(1, answers(300), answers(200), leave=Leave("rst", 50))), 0)
    assert statuses(ended) == []
    (request,) = ended.requests
    assert {round(call.ended_at or 0, 6) for call in request.calls.values()} == {0.05}
    assert {round(call.attempts[0].closed_at or 0, 6) for call in request.calls.values()} == {0.05}
    assert judge(ended) == []


def test_a_dead_idle_connection_is_replaced_within_the_call() -> None:
    """G7. The upstream closes an idle connection in the instant in which it is used again."""
    spoils = CallScript("close_idle", 0)
    ended = run_plan(
        plan_of(race(1, spoils, spoils, ask="all"), race(2, answers(9), answers(9), ask="all", gap_ms=5)),
        0,
    )
    assert statuses(ended) == [(200, ""), (200, "")]
    assert judge(ended) == []


def test_a_scripted_bug_is_one_loud_500() -> None:
    """G11. A bug in a call is told once, and its request fails at once."""
    crash = CallScript(dials=(DialScript("crash", 10),))
    ended = run_plan(plan_of(race(1, crash, answers(200))), 0)
    assert statuses(ended) == [(500, "internal")]
    assert judge(ended) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_the_simulator_is_what_its_table_says(fault: str) -> None:
    """The oracle and the server agree on each, alone on a new connection and again on a reused one."""
    plan = plan_of(
        *(race(n, fails(fault, 20), fails(fault, 30), ask="all", timeout_ms=300) for n in (1, 2)),
        upstream_latency_ms=1,
    )
    ended = run_plan(plan, 0)
    assert len(statuses(ended)) == 2
    assert judge(ended) == []


def test_a_drain_answers_who_was_admitted_and_nobody_else() -> None:
    """G9."""
    plan = plan_of(race(1, answers(300), answers(300)), race(2, answers(1), answers(1)), drain_at_ms=100)
    ended = run_plan(plan, 0)
    assert statuses(ended) == [(200, "")]
    assert ended.connections[0].reader.answers[0].closes
    assert judge(ended) == []


def test_what_comes_in_the_lame_duck_is_served_and_its_connection_closed() -> None:
    """G9. One request runs when the signal comes, the next one comes later, and the last one too late."""
    scripts = [race(1, answers(300), answers(300)), race(2, answers(1), answers(1))]
    late = replace(race(3, answers(1), answers(1)), gap_ms=1000)
    ended = run_plan(plan_of(*scripts, late, drain_at_ms=100, lame_duck_ms=500), 0)
    assert statuses(ended) == [(200, ""), (200, "")]
    answers_ = [answer for connection in ended.connections for answer in connection.reader.answers]
    assert [answer.closes for answer in answers_] == [True, True]
    assert judge(ended) == []


def test_the_same_seed_is_the_same_trace_in_another_process() -> None:
    """Whatever the hashes of strings are there: so a failing seed can be replayed anywhere."""
    here = run_plan(draw_plan(SEED, REQUESTS), SEED, traced=True).trace
    assert len(here.happenings) > 5 * REQUESTS
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", DIGEST_PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        )
        assert run.stdout.strip() == here.digest()


def test_another_seed_is_another_order() -> None:
    plan = draw_plan(SEED, REQUESTS)
    digests = {run_plan(plan, seed, traced=True).trace.digest() for seed in (1, 2)}
    assert len(digests) == 2


def test_the_private_names_of_trio_are_still_there_and_are_left_as_they_were() -> None:
    """Virtual time and a seeded scheduler stand on them; trio is pinned for that."""
    before = trio_run._r.getstate(), trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    run_plan(plan_of(), 1)
    assert (trio_run._r.getstate(), trio_run._ALLOW_DETERMINISTIC_SCHEDULING) == before
    assert hasattr(trio_run.Runner, "deadlines") or "deadlines" in trio_run.Runner.__annotations__


def with_a_dead_address(count: int = 12) -> Ended:
    """A name with two addresses of which one swallows attempts to connect, and no connection is kept."""
    once = CallScript("connection_close", 20)
    asked = (race(n, once, once, ask="all", timeout_ms=200) for n in range(1, count + 1))
    return run_plan(plan_of(*asked, addresses=2, silent_addresses=1), 0)


def test_a_dead_address_costs_the_first_requests_and_not_all() -> None:
    """G5: calls that end before the 250 ms of an address are over put it last all the same."""
    ended = with_a_dead_address()
    assert statuses(ended) == [(500, "deadline")] * 2 + [(200, "")] * 10
    assert judge(ended) == []


def test_the_judge_sees_a_dead_address_that_is_tried_first_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Addresses, "learn", lambda self, attempts: None)
    ended = with_a_dead_address()
    assert statuses(ended) == [(500, "deadline")] * 12
    assert any("a silent address was tried first" in str(violation) for violation in judge(ended))


def test_an_idle_connection_that_its_upstream_has_closed_is_not_kept_until_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G7. And the judge sees it when it is."""
    plan = plan_of(race(1, CallScript("close_idle", 0), answers(800), ask="all"))
    assert judge(run_plan(plan, 0)) == []
    monkeypatch.setattr(OriginPool, "look_at", lambda self, connection: None)
    assert any("the upstream has ended them" in str(violation) for violation in judge(run_plan(plan, 0)))
