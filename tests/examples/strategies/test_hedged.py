"""`/api/hedged` through the whole application, in virtual time, with exact times (G2-G6, G11)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from examples.strategies.budget import HedgingBudget
from examples.strategies.delay import ENOUGH, Delay
from fanout.observe.receipt import Receipt, make_receipt
from fanout.race.events import BugFound, CallStarted, RequestEnded
from fanout.race.outcome import Cancelled, NotStarted
from fanout.testing import Replay, ScriptedCall, answers, crashes, fails, hangs
from tests.examples.strategies.apps import ask, starts, summary

NEVER = None
TIE_TRIES = 20  # Trio draws the order of tasks that are ready at the same time


def nothing() -> HedgingBudget:
    return HedgingBudget(percent=0, most=10)


@pytest.mark.parametrize(
    ("calls", "said", "took_s", "outcomes", "second_at"),
    [
        # a success before the delay: one call
        ([answers(50), answers(10)], "success", 0.05, "won not_started", NEVER),
        # after the delay: the first success, whosever it is
        ([answers(300), answers(100)], "success", 0.2, "cancelled won", 0.1),
        ([answers(150), answers(100)], "success", 0.15, "won cancelled", 0.1),
        ([hangs(), answers(0)], "success", 0.1, "cancelled won", 0.1),
        # a failure before the delay starts the second call at once
        ([fails(50), answers(100)], "success", 0.15, "failed won", 0.05),
        ([fails(0), answers(10)], "success", 0.01, "failed won", 0.0),
        ([fails(99), hangs()], "deadline", 1.0, "failed cancelled", 0.099),
        ([fails(50), fails(30)], "no_success", 0.08, "failed failed", 0.05),
        # a failure after it ends nothing: the other call goes on
        ([fails(150), answers(200)], "success", 0.3, "failed won", 0.1),
        ([fails(150), fails(20)], "no_success", 0.15, "failed failed", 0.1),
        ([hangs(), fails(50)], "deadline", 1.0, "cancelled failed", 0.1),
        ([answers(500), fails(50)], "success", 0.5, "won failed", 0.1),
        # nothing comes
        ([hangs(), hangs()], "deadline", 1.0, "cancelled cancelled", 0.1),
        # a bug outranks every answer
        ([crashes(50), answers(10)], "internal", 0.05, "failed not_started", NEVER),
        ([crashes(150), answers(100)], "internal", 0.15, "failed cancelled", 0.1),
        ([hangs(), crashes(20)], "internal", 0.12, "cancelled failed", 0.1),
        ([fails(50), crashes(20)], "internal", 0.07, "failed failed", 0.05),
    ],
)
def test_the_first_success_and_when_the_second_call_starts(
    calls: Sequence[ScriptedCall], said: str, took_s: float, outcomes: str, second_at: float | None
) -> None:
    replay = ask("hedged", *calls)
    assert summary(replay) == (said, took_s, outcomes)
    assert starts(replay) == [0.0, second_at]
    assert [call.started for call in calls] == [1, int(second_at is not None)]


@pytest.mark.parametrize(
    ("timeout_ms", "calls", "outcomes", "second_at"),
    [
        (80, [hangs(), answers(0)], "cancelled not_started", NEVER),  # before the delay
        (100, [hangs(), answers(0)], "cancelled not_started", NEVER),  # in its very moment
        (120, [fails(150), hangs()], "cancelled cancelled", 0.1),  # between the delay and the failure
        (120, [fails(50), hangs()], "failed cancelled", 0.05),  # after the failure, before the delay
        (101, [hangs(), answers(2)], "cancelled cancelled", 0.1),
    ],
)
def test_the_deadline_comes_before_or_between_the_calls(
    timeout_ms: int, calls: Sequence[ScriptedCall], outcomes: str, second_at: float | None
) -> None:
    """G2: nothing that hedging waits for moves the deadline."""
    replay = ask("hedged", *calls, timeout_ms=timeout_ms)
    assert summary(replay) == ("deadline", timeout_ms / 1000, outcomes)
    assert starts(replay) == [0.0, second_at]


def test_no_call_is_started_when_the_time_is_over() -> None:
    calls = [answers(0), answers(0)]
    replay = ask("hedged", *calls, arrived_ms_ago=2000)
    assert summary(replay)[0::2] == ("deadline", "cancelled not_started")
    assert [call.started for call in calls] == [0, 0]


def test_a_success_in_the_moment_of_the_delay_wins_and_the_second_call_is_not_made() -> None:
    """Whether the delay or the success is noticed first."""
    seen = set()
    for _ in range(TIE_TRIES):
        second = answers(50)
        seen.add(summary(ask("hedged", answers(100), second)))
        assert second.started == 0
    assert seen <= {("success", 0.1, "won not_started"), ("success", 0.1, "won cancelled")}


def test_a_failure_in_the_moment_of_the_delay_starts_the_second_call_once() -> None:
    for _ in range(TIE_TRIES):
        calls = [fails(100), answers(50), hangs()]
        replay = ask("hedged", *calls)
        assert summary(replay)[:2] == ("success", 0.15)
        assert starts(replay)[:2] == [0.0, 0.1]
        assert [call.started for call in calls[:2]] == [1, 1]


def test_a_failure_in_the_moment_of_the_deadline_is_the_deadline() -> None:
    for _ in range(TIE_TRIES):
        calls = [fails(80), answers(0)]
        assert summary(ask("hedged", *calls, timeout_ms=80))[:2] == ("deadline", 0.08)
        assert calls[1].started == 0


@pytest.mark.parametrize(
    ("calls", "at_s"),
    [
        ([hangs(), hangs(), answers(50)], [0.0, 0.1, 0.2]),
        ([hangs(), fails(20), answers(50)], [0.0, 0.1, 0.12]),
        ([fails(150), hangs(), answers(50)], [0.0, 0.1, 0.15]),  # of whichever call
        ([fails(10), fails(10), answers(50)], [0.0, 0.01, 0.02]),
    ],
)
def test_each_further_call_has_its_own_delay(calls: Sequence[ScriptedCall], at_s: list[float]) -> None:
    replay = ask("hedged", *calls)
    assert starts(replay) == at_s
    assert summary(replay)[:2] == ("success", pytest.approx(at_s[-1] + 0.05))


# --- the budget


@pytest.mark.parametrize(
    ("first", "said", "took_s", "outcomes"),
    [
        (answers(300), "success", 0.3, "won not_started"),
        (fails(50), "no_success", 0.05, "failed not_started"),
        (fails(300), "no_success", 0.3, "failed not_started"),
        (hangs(), "deadline", 1.0, "cancelled not_started"),
        (crashes(300), "internal", 0.3, "failed not_started"),
    ],
)
def test_an_empty_budget_suppresses_the_new_call_and_never_the_running_one(
    first: ScriptedCall, said: str, took_s: float, outcomes: str
) -> None:
    second = answers(10)
    assert summary(ask("hedged", first, second, budget=nothing())) == (said, took_s, outcomes)
    assert second.started == 0


def test_what_is_left_of_the_budget_is_for_failures() -> None:
    half = HedgingBudget(percent=0, most=4, at_first=2)
    assert summary(ask("hedged", answers(300), answers(10), budget=half)) == (
        "success",
        0.3,
        "won not_started",
    )
    assert summary(ask("hedged", fails(200), answers(10), budget=half)) == ("success", 0.21, "failed won")
    assert summary(ask("hedged", fails(50), answers(10), budget=half)) == ("success", 0.06, "failed won")
    assert summary(ask("hedged", fails(50), answers(10), budget=half)) == (
        "no_success",
        0.05,
        "failed not_started",
    )


def test_a_budget_for_one_further_call_makes_one() -> None:
    one = HedgingBudget(percent=0, most=2, at_first=1)
    replay = ask("hedged", fails(10), fails(10), answers(0), budget=one)
    assert summary(replay) == ("no_success", 0.02, "failed failed not_started")


def test_requests_earn_the_budget() -> None:
    budget = HedgingBudget(percent=50, most=10)
    seen = [summary(ask("hedged", fails(10), answers(10), budget=budget))[0] for _ in range(4)]
    assert seen == ["no_success", "success", "no_success", "success"]


def test_a_suppressed_call_is_shown_as_not_started_in_every_view() -> None:
    """Not as a bug, and not as a call that was stopped."""
    replay = ask("hedged", fails(50), answers(10), budget=nothing(), headers=[(b"x-fanout-receipt", b"1")])
    assert replay.headers["server-timing"].startswith(
        'call0;dur=50.0;desc="failed", call1;dur=0.0;desc="not_started"'
    )
    assert replay.json["calls"][1] == {
        "upstream": 1,
        "outcome": "not_started",
        "error": None,
        "status": None,
        "elapsed_ms": 0,
    }
    reason = "the hedging budget is empty"
    shown = replay.json["receipt"]["calls"][1]
    assert (shown["outcome"], shown["started_ms"], shown["cancel_reason"]) == ("not_started", None, reason)
    assert replay.json["receipt"]["endpoint"] == "hedged"
    assert replay.records[1].outcome == NotStarted(reason)
    assert receipt_of(replay).calls[1].cancel_reason == reason
    assert not bugs(replay)


def test_a_call_that_was_not_needed_is_shown_as_not_started() -> None:
    replay = ask("hedged", answers(50), answers(10))
    assert [call.outcome for call in receipt_of(replay).calls] == ["won", "not_started"]
    assert len([event for event in replay.events if isinstance(event, CallStarted)]) == 1


# --- the percentile


def test_the_delay_is_a_percentile_of_what_was_seen() -> None:
    delay = Delay(0.5, percentile=95)
    for milliseconds in range(1, ENOUGH + 1):
        ask("hedged", answers(milliseconds), hangs(), delay=delay)
    assert delay.seconds == pytest.approx(0.095)
    replay = ask("hedged", answers(300), answers(10), delay=delay)
    assert summary(replay)[0::2] == ("success", "cancelled won")
    assert starts(replay) == [0.0, pytest.approx(0.095)]


# --- disconnects and bugs


@pytest.mark.parametrize(
    ("after_ms", "calls", "started"),
    [
        (50, [hangs(), answers(0)], [1, 0]),  # during the delay
        (100, [hangs(), hangs()], [1, 0]),  # in its very moment; see below
        (150, [hangs(), hangs()], [1, 1]),
        (60, [fails(50), hangs()], [1, 1]),
    ],
)
def test_a_client_disconnect_ends_everything_at_once(
    after_ms: int, calls: list[ScriptedCall], started: list[int]
) -> None:
    """G6. `run_scenario` raises if anything is left."""
    replay = ask("hedged", *calls, hang_up_after_ms=after_ms)
    assert replay.status is None
    assert replay.took_s == pytest.approx(after_ms / 1000)
    counts = [call.started for call in calls]
    assert counts == started or (after_ms == 100 and counts == [1, 1])
    outcomes = [call.outcome for call in receipt_of(replay).calls]
    assert set(outcomes) <= {"cancelled", "failed", "not_started"}
    assert not bugs(replay)


def test_a_call_that_was_stopped_by_a_disconnect_says_so() -> None:
    replay = ask("hedged", hangs(), hangs(), hang_up_after_ms=150)
    race = request_ended(replay).race
    assert race is not None
    assert [type(record.outcome) for record in race.calls] == [Cancelled, Cancelled]


def test_a_bug_of_the_strategys_own_code_is_one_500_and_leaves_nothing() -> None:
    """G11: outside of a call, in the handler."""

    class Broken(HedgingBudget):
        def spend(self) -> bool:
            raise ZeroDivisionError("for the test")

    first = hangs()
    replay = ask("hedged", first, answers(0), budget=Broken(percent=0, most=10, at_first=10))
    assert (replay.status, replay.json["reason"], replay.took_s) == (500, "internal", 0.1)
    (bug,) = bugs(replay)
    assert "ZeroDivisionError" in repr(bug)
    assert (first.started, first.running) == (1, 0)


def test_a_bug_in_a_losers_clean_up_is_not_lost() -> None:
    loser = hangs()
    loser.cleanup_error = RuntimeError("clean-up")
    replay = ask("hedged", loser, answers(50))
    assert summary(replay) == ("internal", 0.15, "failed ok")
    assert len(bugs(replay)) == 1


def test_calls_of_any_kind_leave_nothing() -> None:
    """Random scripts, deadlines and disconnects: the kit raises if a task, a call or a permit is left."""
    dice = random.Random(23)
    kinds = (answers, fails, crashes)
    for _ in range(150):
        calls = [dice.choice(kinds)(dice.choice((0, 40, 100, 140, 200))) for _ in range(dice.choice((2, 3)))]
        left_ms = dice.choice((None, None, 0, 40, 100, 130))
        replay = ask("hedged", *calls, timeout_ms=dice.choice((50, 100, 150, 400)), hang_up_after_ms=left_ms)
        assert (replay.status is None) <= (left_ms is not None)
        assert all(call.started <= 1 for call in calls)


def bugs(replay: Replay) -> list[BaseException]:
    return [event.exception for event in replay.events if isinstance(event, BugFound)]


def request_ended(replay: Replay) -> RequestEnded:
    (ended,) = [event for event in replay.events if isinstance(event, RequestEnded)]
    return ended


def receipt_of(replay: Replay) -> Receipt:
    return make_receipt(request_ended(replay))
