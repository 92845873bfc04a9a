"""docs/extending.md shows the code as it is, and figures that its command gives."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Final

import pytest

from benchmarks.hedging import BOTH, FAILING, LATENCIES, REQUESTS, STRATEGIES, Measured, group, measure
from examples.strategies.hedged import hedged, run_hedged

pytestmark = pytest.mark.same_on_every_python

DOCUMENT: Final = (Path(__file__).parents[3] / "docs/extending.md").read_text("utf-8")
BLOCK: Final = DOCUMENT.partition("$ python -m benchmarks.hedging ")[2].partition("```")[0]
PROSE: Final = DOCUMENT.partition(BLOCK)[2].partition("\n## ")[0]
BUDGETED: Final = "hedged, p95, budget 10 %"
BY_NAME: Final = {strategy.name: strategy for strategy in STRATEGIES}


def figures(name: str) -> Measured:
    return measure(BY_NAME[name], "uniform", "fast", REQUESTS)


def test_the_document_shows_the_handler_and_the_verdict_as_they_are() -> None:
    assert f"```python\n{inspect.getsource(hedged)}\n\n{inspect.getsource(run_hedged)}```" in DOCUMENT


@pytest.mark.long
def test_both_bounds_hold_for_fast_failures_and_a_latency_without_a_tail() -> None:
    """At most 1.1 calls per request, a p99 within 10 % of both at once; and this is the published row."""
    both, budgeted = figures(BOTH), figures(BUDGETED)
    assert budgeted.calls_per_request <= 1.1
    assert budgeted.percentile(99) <= 1.1 * both.percentile(99)
    more = budgeted.percentile(99) / both.percentile(99) - 1
    assert re.search(
        rf"^  {BUDGETED} +{budgeted.calls_per_request:.3f} +{budgeted.percentile(50):.0f} ms"
        rf" +{budgeted.percentile(99):.0f} ms +\{more:+.1%} +{budgeted.lost:.2%}$",
        DOCUMENT.partition(next(group("uniform", "fast", 60)))[2],
        re.MULTILINE,
    )


def test_the_prose_quotes_the_block() -> None:
    for quoted, shown in (("3.2 %", "+3.2%"), ("36.5 %", "+36.5%"), ("1.51 %", "1.51%"), ("1.16 %", "1.16%")):
        assert quoted in PROSE
        assert shown in BLOCK
    for figure in ("1.099", "1.141", "77 ms", "2281 ms"):
        assert figure in PROSE
        assert figure in BLOCK


def test_every_group_and_row_is_published() -> None:
    block = BLOCK
    heads = [next(group(latency, failing, 60)) for latency in LATENCIES for failing in FAILING]
    assert [line for line in block.splitlines() if line.startswith("latency:")] == heads
    names = [line[2:26].strip() for line in block.splitlines() if re.match(r"  \w", line)]
    assert names == [strategy.name for strategy in STRATEGIES] * len(heads)
    assert block.splitlines()[0].endswith("--only uniform")
