"""Both verdicts as complete tables: every combination of two calls' endings, in both orders of ending."""

from __future__ import annotations

import itertools

import pytest

from fanout.race.ledger import Ledger
from fanout.race.outcome import Cancelled, Crash, Failure, Outcome, Success
from fanout.race.verdict import (
    Crashed,
    Every,
    NoSuccess,
    One,
    Strategy,
    Verdict,
    every_success,
    first_success,
)

A, B = b'{"time": 1}', b'{"time": 2}'
BUG = ZeroDivisionError()


def ledger_of(first: Outcome | None, second: Outcome | None, order: tuple[int, int]) -> Ledger:
    ledger = Ledger(2)
    for call in order:
        outcome = (first, second)[call]
        if outcome is not None:
            ledger.end(call, outcome, at=float(call))
    return ledger


def outcome(word: str, payload: bytes) -> Outcome | None:
    outcomes: dict[str, Outcome | None] = {
        "ok": Success(payload),
        "failed": Failure("broken"),
        "cancelled": Cancelled("deadline"),
        "crashed": Crash(BUG),
        "pending": None,
    }
    return outcomes[word]


WORDS = ("ok", "failed", "cancelled", "crashed", "pending")
# What `first_success` says. `ok ok` depends on the order of ending, so it is not in the table.
FIRST: dict[tuple[str, str], Verdict | None] = {
    ("ok", "failed"): One(0, A),
    ("ok", "cancelled"): One(0, A),
    ("ok", "pending"): One(0, A),
    ("failed", "ok"): One(1, B),
    ("cancelled", "ok"): One(1, B),
    ("pending", "ok"): One(1, B),
    ("failed", "failed"): NoSuccess(),
    ("failed", "cancelled"): None,
    ("failed", "pending"): None,
    ("cancelled", "failed"): None,
    ("cancelled", "cancelled"): None,
    ("cancelled", "pending"): None,
    ("pending", "failed"): None,
    ("pending", "cancelled"): None,
    ("pending", "pending"): None,
}
ALL: dict[tuple[str, str], Verdict | None] = {
    ("ok", "ok"): Every((A, B)),
    ("ok", "failed"): Every((A,)),
    ("failed", "ok"): Every((B,)),
    ("failed", "failed"): NoSuccess(),
}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("words", list(itertools.product(WORDS, repeat=2)), ids="-".join)
@pytest.mark.parametrize("strategy", [first_success, every_success])
def test_the_verdict_tables(strategy: Strategy, words: tuple[str, str], order: tuple[int, int]) -> None:
    """G4, G5, G11: the verdict is a function of the record alone."""
    ledger = ledger_of(outcome(words[0], A), outcome(words[1], B), order)
    if "crashed" in words:
        expected: Verdict | None = Crashed(BUG)
    elif strategy is first_success:
        expected = (One(0, A), One(1, B))[order[0]] if words == ("ok", "ok") else FIRST[words]
    else:
        expected = ALL.get(words)
    assert strategy(ledger) == expected


def test_every_success_keeps_call_order_whatever_the_order_of_ending() -> None:
    """G5: call order, not order of arrival."""
    ledger = Ledger(3)
    for call in (2, 0, 1):
        ledger.end(call, Success(b"%d" % call), at=0)
    assert every_success(ledger) == Every((b"0", b"1", b"2"))


@pytest.mark.parametrize("strategy", [first_success, every_success])
def test_both_need_one_success(strategy: Strategy) -> None:
    """The problem of a race that nobody won says how many had to succeed, if it was more than one."""
    ledger = Ledger(1)
    ledger.end(0, Failure("broken"), at=0)
    verdict = strategy(ledger)
    assert isinstance(verdict, NoSuccess)
    assert verdict.needed == 1
