"""The receipt that a client gets if it asks for it: what the answer contains of it, and what not."""

from __future__ import annotations

import math

import pytest

from fanout.api.receipts import receipt_member, receipt_timings
from fanout.race.budget import Budget
from fanout.race.events import RaceRecord
from fanout.race.ledger import CallRecord
from fanout.race.outcome import TOO_LATE, Cancelled
from fanout.testing import ScriptedCall, fails, hangs, run_scenario
from tests.observe.test_receipts import GOOD, MarkedCall, receipts_of

TELL_ALL = [(b"x-fanout-receipt", b"1")]


def race_with(cancelled: Cancelled) -> RaceRecord:
    """Of one call that ran from second 1 to second 2. The race was settled at second 1.5."""
    return RaceRecord("quorum", Budget(1.0, 2000, 0), None, (CallRecord(0, 1.0, 2.0, cancelled),), 1.5)


def test_a_client_is_not_told_reasons_that_are_not_ours() -> None:
    """Of a crash in a nursery Trio gives the exception as the reason, and that can hold anything."""
    race = race_with(Cancelled("nursery", "child raised KeyError('secret')"))
    assert receipt_member(race)["calls"][0]["cancel_reason"] is None
    assert receipt_timings(race)[1:] == ['call0.cancelled;dur=500.000;desc="nursery"']
    late = race_with(TOO_LATE)
    assert receipt_member(late)["calls"][0]["cancel_reason"] == TOO_LATE.reason
    own = race_with(Cancelled("explicit", "call 1 settled the race"))
    assert receipt_member(own)["calls"][0]["cancel_reason"] == "call 1 settled the race"


def test_a_client_is_told_the_time_left_that_an_upstream_was_sent() -> None:
    (call,) = (race := race_with(Cancelled("explicit", "call 1 settled the race"))).calls
    assert receipt_timings(race._replace(calls=(call._replace(time_left_ms=1980),)))[1:] == [
        "call0.time_left;dur=1980.000",
        'call0.cancelled;dur=500.000;desc="call 1 settled the race"',
    ]


def test_the_receipt_in_an_answer_names_a_new_strategy_and_rounds_to_the_microsecond() -> None:
    race = race_with(Cancelled("explicit"))._replace(budget=Budget(1.0, 2000, 12.345678))
    told = receipt_member(race)
    assert (told["endpoint"], told["timeout_ms"], told["reserve_ms"]) == ("quorum", 2000, 12.346)


def test_a_client_that_asks_is_told_the_phases_of_every_call() -> None:
    won = MarkedCall(10, GOOD, names=("connect", "wait"))
    replay = run_scenario("/api/first", [won, hangs()], headers=TELL_ALL)
    assert replay.headers["server-timing"].split(", ") == [
        'call0;dur=12.0;desc="won"',
        'call1;dur=12.0;desc="cancelled"',
        'timeout;dur=1000.000;desc="default"',
        "call0.connect;dur=1.000",
        "call0.wait;dur=11.000",
        'call1.cancelled;dur=0.000;desc="call 0 settled the race"',
    ]


def test_the_receipt_of_a_problem_is_the_receipt() -> None:
    """But for what is not known before the answer is sent, and what names places in the code."""
    calls: list[ScriptedCall] = [fails(10, "broken"), hangs()]
    replay = run_scenario("/api/all?timeout=100", calls, headers=TELL_ALL, reserve_ms=20)
    (receipt,) = receipts_of(replay)
    whole = receipt.to_json()
    for call in whole["calls"]:
        assert call.pop("left") == []
    told = replay.json["receipt"]
    assert told.items() <= whole.items()
    assert set(told) == {"endpoint", "timeout_ms", "timeout_from", "reserve_ms", "calls"}


@pytest.mark.parametrize("headers", [[], [(b"x-fanout-receipt", b"0")], [(b"x-fanout-receipt", b"1" * 100)]])
def test_nobody_else_is(headers: list[tuple[bytes, bytes]]) -> None:
    replay = run_scenario("/api/first", [fails(1), fails(1)], headers=headers)
    assert "receipt" not in replay.json
    assert len(replay.headers["server-timing"].split(", ")) == 2


def test_how_much_is_told_depends_on_the_calls_alone() -> None:
    """A hostile client cannot make the answer grow: nothing of the request is in it."""
    marks = ("reused", "wait", "retry", "connect", "tls", "wait", "receive", "done")  # no call has more
    calls: list[ScriptedCall] = [MarkedCall(math.inf, GOOD, names=marks) for _ in range(16)]
    replay = run_scenario("/api/all?timeout=100", calls, headers=TELL_ALL)
    assert len(replay.headers["server-timing"]) < 6 * 1024
    assert len(replay.body) < 16 * 1024
