"""`/api/partial` through the whole application, in virtual time, with exact times (G2-G6, G11)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from examples.strategies.partial import PARTIAL
from fanout.testing import Replay, ScriptedCall, answers, crashes, fails, hangs
from tests.examples.strategies.apps import ask, summary


@pytest.mark.parametrize(
    ("calls", "said", "took_s", "outcomes", "times"),
    [
        ([answers(50), answers(80)], "success", 0.08, "ok ok", [50, 80]),
        ([answers(80), answers(50)], "success", 0.08, "ok ok", [80, 50]),
        ([answers(50), fails(80)], "success", 0.08, "ok failed", [50]),
        ([fails(50), fails(80)], "no_success", 0.08, "failed failed", None),
        ([fails(50), hangs()], "deadline", 1.0, "failed cancelled", None),
        ([hangs(), hangs()], "deadline", 1.0, "cancelled cancelled", None),
        ([answers(50), crashes(80)], "internal", 0.08, "ok failed", None),
        ([crashes(50), hangs()], "internal", 0.05, "failed cancelled", None),
    ],
)
def test_it_is_complete_when_every_call_has_ended(
    calls: Sequence[ScriptedCall], said: str, took_s: float, outcomes: str, times: list[int] | None
) -> None:
    """G5: every success, in call order, and not a moment later than it is known."""
    replay = ask("partial", *calls)
    assert summary(replay) == (said, took_s, outcomes)
    assert not is_marked(replay)
    assert times is None or replay.json == [{"time": time} for time in times]


@pytest.mark.parametrize(
    ("calls", "outcomes", "times"),
    [
        ([answers(50), hangs()], "ok cancelled", [50]),
        ([hangs(), answers(50)], "cancelled ok", [50]),
        ([answers(80), hangs(), answers(50)], "ok cancelled ok", [80, 50]),
        ([answers(80), fails(10), hangs()], "ok failed cancelled", [80]),
    ],
)
def test_at_the_deadline_it_has_what_is_there_and_says_that_it_is_partial(
    calls: Sequence[ScriptedCall], outcomes: str, times: list[int]
) -> None:
    replay = ask("partial", *calls, timeout_ms=300, reserve_ms=20)
    assert summary(replay) == ("success", 0.28, outcomes)
    assert replay.json == [{"time": time} for time in times]
    assert is_marked(replay)


def test_a_success_in_the_moment_of_the_deadline_is_left_out() -> None:
    """As in `/api/all`: the deadline is noticed first. Then the answer is marked."""
    for _ in range(20):
        replay = ask("partial", answers(50), answers(300), timeout_ms=300)
        assert replay.json == [{"time": 50}]
        assert is_marked(replay)


def test_the_mark_does_not_replace_other_headers() -> None:
    replay = ask("partial", answers(50), hangs(), timeout_ms=300)
    assert replay.headers["content-type"] == "application/json"
    assert replay.headers["content-length"] == str(len(replay.body))
    assert replay.headers["server-timing"].count("dur=") == 2
    assert replay.headers["cache-control"] == "no-store"


def test_a_client_disconnect_stops_every_call() -> None:
    """G6. `run_scenario` raises if anything is left."""
    replay = ask("partial", hangs(), answers(20), hang_up_after_ms=50)
    assert (replay.status, replay.took_s) == (None, 0.05)


def is_marked(replay: Replay) -> bool:
    return replay.headers.get(PARTIAL.lower()) == "1"
