"""What became of a call, in one word: these words are part of the API, of the log and of the metrics."""

from __future__ import annotations

import pytest

from fanout.race.ledger import CallRecord
from fanout.race.outcome import SUCCESSES, TOO_LATE, Cancelled, Crash, Failure, NotStarted, Outcome, Success
from fanout.race.verdict import DeadlineReached, Every, One, Verdict, word_of

PAYLOAD = b'{"time": 1}'
SUCCESS = Success(PAYLOAD)


@pytest.mark.parametrize(
    ("outcome", "started_at", "verdict", "word"),
    [
        (SUCCESS, 1.0, One(0, PAYLOAD), "won"),
        (SUCCESS, 1.0, One(1, PAYLOAD), "ok"),  # two succeeded, and the other one was first
        (SUCCESS, 1.0, Every((PAYLOAD,)), "ok"),
        (SUCCESS, 1.0, None, "ok"),
        (Failure("broken"), 1.0, One(1, PAYLOAD), "failed"),
        (Cancelled("explicit"), 1.0, One(1, PAYLOAD), "cancelled"),
        (Crash(ValueError()), 1.0, DeadlineReached(), "internal"),
        (None, 1.0, None, "cancelled"),  # the client disconnected while it ran
        (Cancelled("deadline"), None, DeadlineReached(), "not_started"),
        (None, None, None, "not_started"),
        (NotStarted("not wanted"), None, One(1, PAYLOAD), "not_started"),
    ],
)
def test_every_end_of_a_call_has_its_word(
    outcome: Outcome | None, started_at: float | None, verdict: Verdict | None, word: str
) -> None:
    assert word_of(CallRecord(0, started_at, 2.0, outcome), verdict) == word


def test_two_of_the_words_mean_a_success() -> None:
    assert frozenset({"won", "ok"}) == SUCCESSES


def test_a_call_that_came_too_late_says_that_the_deadline_stopped_it_and_why() -> None:
    """A receipt shows both. The reason distinguishes it from a call that ran until the deadline."""
    assert (TOO_LATE.source, TOO_LATE.reason) == ("deadline", "less time was left than a call needs")
