"""The rules by which a complete answer is judged, as a table."""

from __future__ import annotations

import pytest

from fanout.tools.load.endpoint import ENDPOINTS, decoded
from fanout.tools.load.outcome import BROKEN_GUARANTEES, ON_TIME, OWED, Outcome, judged

GOOD = b'{"time": 0}'


@pytest.mark.parametrize(
    ("status", "body", "took_ms", "outcome", "reason"),
    [
        (200, GOOD, 1000.0, Outcome.USEFUL, ""),
        (200, GOOD, 1000.001, Outcome.LATE, ""),
        (200, b'{"time": -1}', 1.0, Outcome.WRONG_BODY, ""),
        (200, b"{}", 1000.001, Outcome.LATE, ""),
        (503, b'{"reason": "overloaded"}', 1.0, Outcome.REFUSED, "overloaded"),
        (503, b"", 1.0, Outcome.REFUSED, ""),
        (503, b'{"reason": "draining"}', 1001.0, Outcome.LATE, "draining"),
        (500, b'{"reason": "deadline"}', 999.0, Outcome.DEADLINE, "deadline"),
        (500, b'{"reason": "no_success"}', 1.0, Outcome.NO_SUCCESS, "no_success"),
        (500, b'{"reason": "useful"}', 1.0, Outcome.OTHER, "useful"),
        (500, b"oops", 1.0, Outcome.OTHER, ""),
        (500, b'{"reason": 7}', 1.0, Outcome.OTHER, ""),
        (404, b'{"reason": "not_found"}', 1.0, Outcome.OTHER, "not_found"),
        (204, b"", 1.0, Outcome.OTHER, ""),
        (204, b"", 1000.0, Outcome.OTHER, ""),
    ],
)
def test_a_complete_answer_has_one_outcome(
    status: int, body: bytes, took_ms: float, outcome: Outcome, reason: str
) -> None:
    """G2: time goes first, then the status, then the body; the limit itself is in time."""
    assert judged(status, body, ENDPOINTS["first"], took_ms=took_ms, limit_ms=1000.0) == (outcome, reason)


@pytest.mark.parametrize(
    ("endpoint", "body", "promised"),
    [
        ("first", b'{"time": 150, "more": null}', True),
        ("first", b'{"time": true}', False),
        ("first", b'{"time": 1.0}', False),
        ("first", b'{"time": "1"}', False),
        ("first", b'{"Time": 1}', False),
        ("first", b'[{"time": 1}]', False),
        ("first", b"", False),
        ("first", b"\xff", False),
        ("first", b"[" * 100_000, False),
        ("all", b'[{"time": 1}]', True),
        ("all", b'[{"time": 1}, {"time": 2}]', True),
        ("all", b'[{"time": 1}, {"time": -2}]', False),
        ("all", b"[]", False),
        ("all", b'{"time": 1}', False),
    ],
)
def test_a_200_is_useful_only_with_the_promised_body(endpoint: str, body: bytes, promised: bool) -> None:
    """G4, G5: an object with a non-negative integer `time`; for `all` a non-empty array of them."""
    assert ENDPOINTS[endpoint].accepts(decoded(body)) is promised


def test_the_word_of_an_outcome_in_a_report_is_its_name_in_lower_case() -> None:
    assert {outcome: outcome.value for outcome in Outcome} == {each: each.name.lower() for each in Outcome}


def test_what_the_client_did_itself_is_owed_nothing() -> None:
    """Every broken guarantee was owed; leaving, crossing, not connecting and cutting were not."""
    assert set(BROKEN_GUARANTEES) <= set(OWED)
    assert set(Outcome) - set(OWED) == {
        Outcome.LEFT,
        Outcome.CROSSED,
        Outcome.NOT_CONNECTED,
        Outcome.ABANDONED,
    }
    assert set(OWED) - set(ON_TIME) == set(BROKEN_GUARANTEES) - {Outcome.WRONG_BODY}


def test_the_word_of_an_outcome_is_its_name() -> None:
    """These words are the keys of a report, and its readers rely on them."""
    assert [outcome.value for outcome in Outcome] == [outcome.name.lower() for outcome in Outcome]
