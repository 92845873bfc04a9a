"""The strategies keep every guarantee in the simulation. `python -m tests.examples.strategies` runs more."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from examples.strategies.delay import Delay
from examples.strategies.endpoints import make_endpoints
from fanout.race.verdict import first_success
from fanout.testing.world.judge import judge
from tests.examples.strategies import oracle
from tests.examples.strategies.apps import hedged_endpoints, unlimited
from tests.examples.strategies.simulated import BUDGETS, at_once, hedged, raced, run

SEEDS: Final = 4
USUAL: Final = {"200", "deadline", "no_success", "client left", "in flight at the shutdown"}
HEDGING: Final = {
    *("after the delay", "after a failure", "a later call wins", "not needed"),
    *("client left before the second call", "client left after it"),
}


@pytest.mark.parametrize("strategy", ["quorum", pytest.param("partial", marks=pytest.mark.long)])
def test_quorum_and_partial_keep_every_guarantee(strategy: str) -> None:
    met = Counter[str]()
    for seed in range(2 * SEEDS):
        wrong, seen = at_once(strategy, 2 + seed % 2, seed)
        assert wrong == []
        met += seen
    assert met.keys() >= USUAL


@pytest.mark.parametrize(
    "budget", [pytest.param(each, marks=() if each == "small" else pytest.mark.long) for each in BUDGETS]
)
def test_hedged_keeps_every_guarantee(budget: str) -> None:
    met = Counter[str]()
    for seed in range(2 * SEEDS):
        wrong, seen = hedged(budget, 2 + seed // 4 % 2, seed)
        assert wrong == []
        met += seen
    assert met.keys() >= (USUAL if budget == "empty" else USUAL | HEDGING)
    if budget == "empty":
        assert met["after the delay"] == met["after a failure"] == 0


# --- the oracle can say no


def test_a_second_call_that_comes_too_early_is_found() -> None:
    endpoints = hedged_endpoints(Delay(0.01), unlimited())
    ended = run(1, "hedged", 2, endpoints, oracle.first, 50)
    found = [w for request, over in raced(ended) for w in oracle.wrong_hedges(request, over, 0.05, must=True)]
    assert any("was due at" in what for what in found)


def test_a_second_call_that_does_not_come_is_found() -> None:
    endpoints = hedged_endpoints(Delay(0.05), BUDGETS["empty"]())
    ended = run(1, "hedged", 2, endpoints, oracle.first, 50)
    found = [w for request, over in raced(ended) for w in oracle.wrong_hedges(request, over, 0.05, must=True)]
    assert any("was not started" in what for what in found)


def test_another_verdict_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quorum that is content with one success."""
    monkeypatch.setattr("examples.strategies.endpoints.quorum", first_success)
    ended = run(1, "quorum", 3, make_endpoints, oracle.majority)
    assert any("it was answered 200" in str(violation) for violation in judge(ended))
