"""The judge can say no: facts of a sound world, falsified in one place, break the guarantee they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fanout.testing.world.ended import Ended
from fanout.testing.world.judge import judge
from fanout.testing.world.plan import Leave
from fanout.testing.world.world import run_plan
from tests.testing.world.plans import answers, fails, plan_of, race

Falsify = Callable[[Ended], None]


def sound_world() -> Ended:
    """w1 is raced, w2 asks for all, w3 fails, w4 meets the deadline, w5's client leaves."""
    return run_plan(
        plan_of(
            race(1, answers(100), answers(200)),
            race(2, answers(50), answers(70), ask="all"),
            race(3, fails("not_json", 5), fails("status", 10)),
            race(4, answers(500), answers(500), timeout_ms=100),
            race(5, answers(500), answers(500), leave=Leave("fin", 50)),
        ),
        0,
    )


def later(ended: Ended) -> None:
    answer = ended.connections[0].reader.answers[0]
    answer.first_at += 0.001


def sooner(ended: Ended) -> None:
    ended.connections[0].reader.answers[3].first_at -= 0.001


def another_winner(ended: Ended) -> None:
    answer = ended.connections[0].reader.answers[0]
    answer.body = answer.body.replace(b"w1.0", b"w1.1")


def of_another_request(ended: Ended) -> None:
    answer = ended.connections[0].reader.answers[1]
    answer.body = answer.body.replace(b"w2.0", b"w1.0")


def out_of_order(ended: Ended) -> None:
    answer = ended.connections[0].reader.answers[1]
    first, second = answer.body[1:-1].split(b"},")
    answer.body = b"[" + second + b"," + first + b"}]"


def a_failure_wins(ended: Ended) -> None:
    ended.connections[0].reader.answers[2].status = 200


def a_wrong_word(ended: Ended) -> None:
    answer = ended.connections[0].reader.answers[2]
    answer.body = answer.body.replace(b"bad_payload", b"broken")


def no_answer(ended: Ended) -> None:
    del ended.connections[0].reader.answers[3:]


def two_answers(ended: Ended) -> None:
    answers_ = ended.connections[0].reader.answers
    answers_.insert(1, answers_[0])


def one_answer_too_many(ended: Ended) -> None:
    """To the client that had left."""
    answers_ = ended.connections[0].reader.answers
    answers_.append(replace(answers_[3], fields={"x-request-id": "w5"}, first_at=answers_[3].first_at + 9))


def half_an_answer(ended: Ended) -> None:
    ended.connections[0].reader.answers[3].last_at = None


def a_call_outlives_its_client(ended: Ended) -> None:
    ended.requests[4].calls[0].ended_at = 100.0


def a_connection_is_left_open(ended: Ended) -> None:
    ended.requests[0].calls[1].attempts[0].closed_at = None


def a_call_waits(ended: Ended) -> None:
    ended.requests[0].calls[0].started_at -= 0.001


def a_call_is_taken_for_another(ended: Ended) -> None:
    ended.requests[2].calls[0].outcome = "broken"


def a_call_never_ends(ended: Ended) -> None:
    ended.requests[0].calls[0].ended_at = None


def a_dirty_connection(ended: Ended) -> None:
    ended.wires[0].calls.insert(0, ended.requests[3].calls[0])


def overload_without_load(ended: Ended) -> None:
    ended.requests[0].was_full = True


def a_slow_drain(ended: Ended) -> None:
    ended.connections[0].closed_at = ended.drained_at + 60


def an_answer_that_keeps_its_connection(ended: Ended) -> None:
    ended.signalled_at = 0.0


def a_late_answer(ended: Ended) -> None:
    ended.late_answers = 1


@pytest.mark.parametrize(
    ("falsify", "of", "said"),
    [
        (later, "w1", "G4"),
        (sooner, "w4", "G2"),
        (another_winner, "w1", "G4"),
        (of_another_request, "w2", "G5"),
        (out_of_order, "w2", "G5"),
        (a_failure_wins, "w3", "G4"),
        (a_wrong_word, "w3", "G4"),
        (no_answer, "w4", "G1"),
        (two_answers, "w2", "G1"),
        (one_answer_too_many, "w5", "G6"),
        (half_an_answer, "w4", "G1"),
        (a_call_outlives_its_client, "w5", "G6"),
        (a_connection_is_left_open, "w1.1", "G3"),
        (a_call_waits, "w1.0", "G8"),
        (a_call_is_taken_for_another, "w3.0", "taken for"),
        (a_call_never_ends, "w1.0", "G3"),
        (a_dirty_connection, "", "G7"),
        (overload_without_load, "w1", "G8"),
        (a_slow_drain, "server", "G9"),
        (an_answer_that_keeps_its_connection, "server", "G9"),
        (a_late_answer, "server", "G2"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_falsified_world_is_found_out(falsify: Falsify, of: str, said: str) -> None:
    """A proof that cannot fail proves nothing."""
    ended = sound_world()
    assert judge(ended) == []
    falsify(ended)
    assert [v for v in judge(ended) if v.of.startswith(of) and said in v.what], judge(ended)
