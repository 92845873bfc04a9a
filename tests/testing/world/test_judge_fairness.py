"""The judge must not say no for nothing: what looks like a broken guarantee and is none. Sweeps found them.

Beside each stands what makes it a broken guarantee after all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fanout.testing.world.ended import Ended
from fanout.testing.world.facts import RequestFacts
from fanout.testing.world.judge import judge
from fanout.testing.world.plan import CallScript, ClientScript, DialScript, Plan, RequestScript, Stall
from fanout.testing.world.world import run_plan
from tests.testing.world.plans import answers, plan_of, race
from tests.testing.world.test_judge import slow_head

ENDLESS = RequestScript(1, b"GET / HTTP/1.1\nhost: a\n\n", "garbage", status=400)
ENDED = RequestScript(1, b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", "garbage", status=400)
BURST = 30  # so many are let through
LONG_HEAD = b"GET / HTTP/1.1\r\nx: " + b"y" * 17_000 + b"\r\n\r\n"
LONG_TARGET = b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n"


def statuses(ended: Ended) -> list[int]:
    return [answer.status for answer in ended.connections[0].reader.answers]


@pytest.mark.parametrize(("head", "status"), [(LONG_HEAD, 431), (LONG_TARGET, 414)])
def test_what_has_no_end_goes_on_with_what_is_sent_behind_it(head: bytes, status: int) -> None:
    """And is too large together with that. What has an end is refused for what it is."""
    behind = RequestScript(2, head, "garbage", status=status, pipelined=True)
    ended = run_plan(plan_of(ENDLESS, behind), 0)
    assert (judge(ended), statuses(ended)) == ([], [status])

    ended = run_plan(plan_of(ENDED, behind), 0)
    assert (judge(ended), statuses(ended)) == ([], [400])
    ended.connections[0].reader.answers[0].status = status
    assert [v.of for v in judge(ended)] == ["w1"]


def home(number: int, **manners: Any) -> RequestScript:
    """A request with an answer that is always the same, and as long."""
    return RequestScript(number, b"GET / HTTP/1.1\r\nhost: a\r\n", "fixed", status=303, **manners)


@pytest.mark.parametrize(("stall_ms", "got"), [(100, [303, 303]), (15_000, [303])])
def test_an_answer_for_which_its_client_has_no_room_was_begun_in_time(stall_ms: int, got: list[int]) -> None:
    """The answer before fills the window to its last byte, so not one of this one's finds room."""
    asked = home(1, stall_ms=stall_ms), home(2, pipelined=True)
    window = run_plan(plan_of(*asked), 0).connections[0].reader.answers[0].end
    ended = run_plan(Plan((ClientScript(asked, window_bytes=window),)), 0)
    assert (judge(ended), statuses(ended)) == ([], got)
    if len(got) == 2:
        second = ended.connections[0].reader.answers[1]
        assert (second.first_at, second.last_at) == (0, stall_ms / 1000)
        second.first_at += 0.001
        assert [v.of for v in judge(ended)] == ["w2"]


def test_a_bug_in_the_instant_of_a_success_is_a_bug() -> None:
    """G11. It comes in one group with the cancellation: a connection is opened in a nursery of its own."""
    crash = CallScript(dials=(DialScript("crash", after_ms=1),))
    met = 0
    for seed in range(20):
        ended = run_plan(plan_of(race(1, crash, answers(1)), addresses=2), seed)
        assert judge(ended) == []
        calls = ended.requests[0].calls
        if statuses(ended) == [500] and calls[1].outcome == "success":
            met += 1
            calls[0].outcome = "cancelled"
            assert [v.what[:3] for v in judge(ended)] == ["G4:"]
    assert met


def refused(ended: Ended) -> Sequence[RequestFacts]:
    """Those that were not even read, because the loop was behind."""
    return [r for r in ended.requests if r.entered_at is None and r.connection.reader.answers]


def behind_a_stall() -> Ended:
    """A whole burst asks while the loop stands still, and more clients when it does so again.

    The second time is four times what `FANOUT_MAX_LOOP_LAG_MS` allows by default, and no more: a server that
    takes no heed of the setting sheds nothing.
    """
    clients = []
    for number in range(60):
        manners = ({}, {"is_head": True}, {"split_at": 0.5, "pause_ms": 20})[number % 3]
        asked = home(number, gap_ms=100 if number < BURST else 400, **manners)
        if asked.is_head:
            asked = replace(asked, head=asked.head.replace(b"GET", b"HEAD"))
        clients.append(ClientScript((asked,)))
    return run_plan(Plan(tuple(clients), stalls=(Stall(100, 200), Stall(400, 20))), 0)


def test_a_refusal_needs_no_more_than_the_first_bytes() -> None:
    """G8. Half a request is refused as a whole one is, and HEAD without the word for it. But only then."""
    ended = behind_a_stall()
    assert judge(ended) == []
    scripts = [request.script for request in refused(ended)]
    assert any(script.is_head for script in scripts)
    assert any(script.split_at for script in scripts)

    ended.stalls[:] = [(0.1, 0.104), (0.4, 0.404)]
    assert {v.of for v in judge(ended) if v.what.startswith("G8")} >= {f"w{script.id}" for script in scripts}


@pytest.mark.parametrize(
    ("later_s", "said"), [(-0.01, "G1: it was answered before it came"), (0.03, "G8: it came at")]
)
def test_a_refusal_comes_with_the_first_bytes_and_at_once(later_s: float, said: str) -> None:
    ended = behind_a_stall()
    request = next(r for r in refused(ended) if r.script.split_at)
    request.connection.reader.answers[0].first_at += later_s
    assert [v for v in judge(ended) if v.of == f"w{request.script.id}" and v.what.startswith(said)]


def test_two_stalls_with_no_time_between_them_may_be_one_pass() -> None:
    ended = behind_a_stall()
    ended.stalls[:] = [(0.1, 0.104), (0.4, 0.404), (0.404, 0.42)]
    assert judge(ended) == []
    ended.stalls[:] = [(0.1, 0.104), (0.4, 0.404), (0.416, 0.42)]
    assert [v for v in judge(ended) if v.what.startswith("G8")]


def test_a_refusal_for_which_its_client_has_no_room_may_be_cut() -> None:
    """The server waits for no client to take its last word, so it may not even say that it is overloaded."""
    ended = behind_a_stall()
    half = next(r for r in refused(ended) if r.script.split_at)
    answer, connection = half.connection.reader.answers[0], half.connection
    answer.last_at, answer.body = None, b""
    connection.reader._begun_at, connection.closed_at = answer.first_at, answer.first_at
    connection.left_at = None
    assert f"w{half.script.id}" in {v.of for v in judge(ended)}
    connection.client = replace(connection.client, window_bytes=100)
    assert judge(ended) == []


def test_a_slow_head_is_not_waited_for_while_its_connection_lingers_or_once_its_client_has_left() -> None:
    """G10. It has 10 s, and the linger after the 408 is another second."""
    ended = slow_head()
    (connection,) = ended.connections
    connection.left_at, connection.closed_at = None, 11.0
    assert judge(ended) == []
    connection.closed_at = 11.001
    assert [v.of for v in judge(ended) if v.what.startswith("G10")] == ["w1"]
    connection.left_at = 9.0
    assert not [v for v in judge(ended) if v.what.startswith("G10")]
