"""What is right in a situation, and when it is due, follows from its scripts."""

from __future__ import annotations

from typing import Any

import pytest

from fanout.lab.side_by_side.situations import BY_NAME, Script, Situation

FIFTY = {"time": 50}


@pytest.mark.parametrize(
    ("name", "endpoint", "answer", "due_ms"),
    [
        ("fast failure", "first", {"time": 150}, 150),
        ("fast failure", "all", [{"time": 150}], 150),
        ("slow loser", "first", FIFTY, 50),
        ("slow loser", "all", [FIFTY, {"time": 700}], 700),
        ("one hangs", "first", FIFTY, 50),
        ("one hangs", "all", None, 300),
        ("both hang", "first", None, 300),
        ("both fail", "first", None, 30),
        ("both fail", "all", None, 30),
        ("swallowed", "first", FIFTY, 50),
        ("clean-up waits", "all", None, 300),
    ],
)
def test_the_right_answer_follows_from_the_scripts(
    name: str, endpoint: str, answer: Any, due_ms: float
) -> None:
    right = BY_NAME[name].right(endpoint)

    assert (right.answer, right.due_ms, right.is_cancelled) == (answer, due_ms, False)


def test_after_a_disconnect_there_is_no_answer() -> None:
    right = BY_NAME["disconnect"].right("first")

    assert right.is_cancelled
    assert right.due_ms == 100


def test_a_success_after_the_deadline_is_none() -> None:
    situation = Situation("too late", "", (Script(400), Script(20, fails=True)), timeout_ms=300)

    assert (situation.right("first").answer, situation.right("first").due_ms) == (None, 300)
