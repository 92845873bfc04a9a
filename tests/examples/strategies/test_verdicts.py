"""The verdicts as tables: every ending of every call, in every order, against the words of each strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations, product
from typing import Final

import pytest

from examples.strategies.hedged import hedged
from examples.strategies.partial import partial
from examples.strategies.quorum import quorum
from fanout.race.ledger import Ledger
from fanout.race.outcome import Cancelled, Crash, Failure, NotStarted, Outcome, Success
from fanout.race.verdict import Crashed, Every, NoSuccess, One, Strategy, Verdict

BUG: Final = ZeroDivisionError()
WORDS: Final = ("ok", "failed", "cancelled", "crashed", "left out", "running")
Ends = Sequence[tuple[int, str]]  # call and word, in the order of ending
Says = Callable[[int, Ends], Verdict | None]


def payload(call: int) -> bytes:
    return b'{"time": %d}' % call


def outcome(call: int, word: str) -> Outcome:
    outcomes: dict[str, Outcome] = {
        "ok": Success(payload(call)),
        "failed": Failure("broken"),
        "cancelled": Cancelled("deadline"),
        "crashed": Crash(BUG),
        "left out": NotStarted("for the test"),
    }
    return outcomes[word]


def ledger_of(calls: int, ends: Ends) -> Ledger:
    ledger = Ledger(calls)
    for at, (call, word) in enumerate(ends):
        ledger.end(call, outcome(call, word), float(at))
    return ledger


def all_ends(calls: int) -> Iterator[Ends]:
    for words in product(WORDS, repeat=calls):
        ended = [(call, word) for call, word in enumerate(words) if word != "running"]
        yield from permutations(ended)


def count(ends: Ends, *words: str) -> int:
    return sum(word in words for _, word in ends)


def oks(ends: Ends) -> list[int]:
    return [call for call, word in ends if word == "ok"]


def hedged_says(calls: int, ends: Ends) -> Verdict | None:
    """The first success. None: once all calls have failed or are left out."""
    if oks(ends):
        return One(oks(ends)[0], payload(oks(ends)[0]))
    return NoSuccess() if count(ends, "failed", "left out") == calls else None


def quorum_says(calls: int, ends: Ends) -> Verdict | None:
    """The first successes that are more than half; none as soon as that many cannot succeed."""
    for needed in range(calls + 1):
        if 2 * needed > calls:
            break
    if len(oks(ends)) >= needed:
        return Every(tuple(payload(call) for call in range(calls) if call in oks(ends)[:needed]))
    return NoSuccess(needed) if calls - count(ends, "failed", "left out") < needed else None


def partial_says(calls: int, ends: Ends) -> Verdict | None:
    """What is there when nothing runs any more."""
    if len(ends) < calls:
        return None
    if oks(ends):
        return Every(tuple(payload(call) for call in sorted(oks(ends))))
    return None if count(ends, "cancelled") else NoSuccess()


STRATEGIES: Final[dict[Strategy, Says]] = {
    hedged: hedged_says,
    quorum: quorum_says,
    partial: partial_says,
}


@pytest.mark.parametrize("calls", [1, 2, 3, 4])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.__name__)
def test_the_verdict_tables(strategy: Strategy, calls: int) -> None:
    """G4, G5, G11: a function of the record alone, and a bug outranks every answer."""
    for ends in all_ends(calls):
        says = Crashed(BUG) if count(ends, "crashed") else STRATEGIES[strategy](calls, ends)
        assert strategy(ledger_of(calls, ends)) == says, ends


@pytest.mark.parametrize("calls", [2, 3, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.__name__)
def test_a_verdict_that_was_given_changes_into_nothing_but_a_bug(strategy: Strategy, calls: int) -> None:
    """The race stops its calls when the strategy is settled, and asks again when they have ended."""
    for ends in all_ends(calls):
        settled: Verdict | None = None
        for length in range(len(ends) + 1):
            verdict = strategy(ledger_of(calls, ends[:length]))
            assert settled is None or verdict == settled or isinstance(verdict, Crashed), ends
            settled = verdict or settled
