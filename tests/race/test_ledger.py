from __future__ import annotations

import pytest

from fanout.race.ledger import CallRecord, Ledger
from fanout.race.outcome import Cancelled, Crash, Failure, Outcome, Success


def test_a_call_ends_once() -> None:
    """Rule 2: a second ending is a bug, and says what both were."""
    ledger = Ledger(1)
    ledger.end(0, Failure("broken"), at=1)
    with pytest.raises(RuntimeError, match=r"call 0 ended twice.*broken.*Success"):
        ledger.end(0, Success(b""), at=2)
    assert ledger.records == (CallRecord(0, None, 1, Failure("broken")),)


def test_every_call_is_on_record_from_the_beginning() -> None:
    ledger = Ledger(2)
    assert ledger.records == (CallRecord(0), CallRecord(1))
    assert ledger.records[0] == (0, None, None, None, (), (), None)
    ledger.start(1, at=5)
    assert ledger.records == (CallRecord(0), CallRecord(1, 5))
    ended = ledger.end(1, Failure("broken"), at=6)
    assert ended == CallRecord(1, 5, 6, Failure("broken"))
    assert ledger.ended == (ended,)


def test_records_are_in_call_order_and_endings_in_time_order() -> None:
    ledger = Ledger(2)
    ledger.start(0, at=1)
    ledger.start(1, at=2)
    ledger.end(1, Success(b"b"), at=3)
    ledger.end(0, Success(b"a"), at=4)
    assert [record.call for record in ledger.records] == [0, 1]
    assert [record.call for record in ledger.ended] == [1, 0]
    assert ledger.winner == CallRecord(1, 2, 3, Success(b"b"))


def test_pending_counts_what_has_not_ended() -> None:
    ledger = Ledger(2)
    assert ledger.pending == 2
    ledger.start(0, at=1)
    assert ledger.pending == 2
    ledger.end(0, Cancelled("deadline"), at=2)
    assert ledger.pending == 1


def test_stopped_counts_what_was_cancelled() -> None:
    ledger = Ledger(3)
    counts = []
    outcomes: list[Outcome] = [Cancelled("deadline"), Failure("broken"), Cancelled("explicit", "x")]
    for call, outcome in enumerate(outcomes):
        ledger.end(call, outcome, at=call)
        counts.append(ledger.stopped)
    assert counts == [1, 1, 2]


def test_a_failure_is_no_winner_and_a_crash_is_found() -> None:
    bug = ValueError()
    ledger = Ledger(2)
    ledger.end(0, Failure("broken"), at=1)
    assert ledger.winner is None
    assert ledger.crash is None
    ledger.end(1, Crash(bug), at=1)
    assert ledger.crash is bug


@pytest.mark.parametrize(
    ("record", "elapsed_s"),
    [
        (CallRecord(0), 0),
        (CallRecord(0, 5.0), 0),
        (CallRecord(0, None, 7.0), 0),
        (CallRecord(0, 5.0, 7.5), 2.5),
    ],
)
def test_elapsed_is_zero_until_a_started_call_has_ended(record: CallRecord, elapsed_s: float) -> None:
    assert record.elapsed_s == elapsed_s
