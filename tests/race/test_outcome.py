from __future__ import annotations

from fanout.race.outcome import Cancelled, Failure


def test_what_nobody_said_is_none_and_not_an_empty_word() -> None:
    """Observers tell "no status was read" from a status, and "no reason was given" from a reason."""
    assert Failure("unreachable").status is None
    assert Cancelled("deadline").reason is None
