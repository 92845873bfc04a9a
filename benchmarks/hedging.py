"""What hedging costs and brings: calls per request, latency and lost requests, in virtual time, from a seed.

    python -m benchmarks.hedging                                all groups, as docs/extending.md shows them
    python -m benchmarks.hedging --requests 2000 --only tail    some

Each request is a race of the server, run by `run_race` or by `run_hedged` of `examples/strategies`; its calls
are scripts. One call in ten fails. Every strategy gets the same requests: the same draws for the same calls.
The clock is Trio's mock clock, so the machine has no part in a figure: the same seed gives the same table.

Calls are counted from the first request, and the budget begins empty, so nothing is borrowed. Times and lost
requests are those after the first sixth, when the percentile is known and the budget has its usual level.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import click
import trio
import trio.testing

from examples.strategies.budget import HedgingBudget
from examples.strategies.delay import Delay
from examples.strategies.hedged import hedged, run_hedged
from fanout.api.handlers import run_race
from fanout.race.budget import Budget
from fanout.race.events import Event
from fanout.race.outcome import Failure, Success
from fanout.race.race import Race
from fanout.race.verdict import One, first_success
from fanout.testing import ScriptedCall

SEED: Final = 23
REQUESTS: Final = 12_000  # of each row
FAILURES: Final = 0.1
FAST_FAILURE_MS: Final = 10.0
TIMEOUT_MS: Final = 600_000  # no deadline: here only the strategies are compared
AT_FIRST_S: Final = 0.5  # the delay until a percentile is known
BOTH: Final = "both at once"

Draw = Callable[[random.Random], float]
LATENCIES: Final[dict[str, tuple[str, Draw]]] = {
    "uniform": ("uniform, 100 to 600 ms", lambda dice: dice.uniform(100, 600)),
    "tail": ("log-normal, median 100 ms, p99 640 ms", lambda dice: 100 * dice.lognormvariate(0, 0.8)),
    "stalls": (
        "20 to 40 ms, and 3 calls in 100 take 1 to 3 s",
        lambda dice: dice.uniform(20, 40) if dice.random() >= 0.03 else dice.uniform(1000, 3000),
    ),
}
FAILING: Final = {"fast": "after 10 ms", "slow": "after the time of an answer"}


@dataclass(frozen=True, slots=True)
class Strategy:
    """percentile: of the hedging delay; `None`: the calls start at once. percent: what a request earns."""

    name: str
    calls: int = 2
    percentile: float | None = None
    percent: int | None = None


STRATEGIES: Final = (
    Strategy("one call", calls=1),
    Strategy(BOTH),
    *(Strategy(f"hedged, p{percentile}", 2, percentile) for percentile in (90, 95, 99)),
    *(Strategy(f"hedged, p95, budget {percent} %", 2, 95, percent) for percent in (10, 15)),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """lost: the share of requests without a success. times_ms: of the successes, in order."""

    calls_per_request: float
    lost: float
    times_ms: Sequence[float]

    def percentile(self, percent: float) -> float:
        return self.times_ms[ceil(percent / 100 * len(self.times_ms)) - 1]


class Nobody:
    """An observer of no event."""

    interests: Final[frozenset[type[Event]]] = frozenset()

    def notify(self, event: Event) -> None:
        raise AssertionError(event)


def measure(strategy: Strategy, latency: str, failing: str, requests: int) -> Measured:
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(_measure, strategy, latency, failing, requests, clock=clock)


async def _measure(strategy: Strategy, latency: str, failing: str, requests: int) -> Measured:
    delay = Delay(AT_FIRST_S, strategy.percentile)
    budget = (
        HedgingBudget(100, 100, 100) if strategy.percent is None else HedgingBudget(strategy.percent, 100)
    )
    calls, times_ms, warm_up = 0, [], requests // 6
    for number, script in enumerate(scripts(latency, failing, requests)):
        began_at = trio.current_time()
        race = Race(
            "r",
            hedged if strategy.percentile else first_success,
            script[: strategy.calls],
            Budget(began_at, TIMEOUT_MS, 0.0),
            Nobody(),
        )
        if strategy.percentile:
            await run_hedged(race, False, delay, budget)
        else:
            await run_race(race, False)
        calls += sum(call.started for call in script)
        if number >= warm_up and isinstance(race.record().verdict, One):
            times_ms.append(1000 * (trio.current_time() - began_at))
    return Measured(calls / requests, 1 - len(times_ms) / (requests - warm_up), sorted(times_ms))


def scripts(latency: str, failing: str, requests: int) -> Iterator[Sequence[ScriptedCall]]:
    """The calls of each request. The same, whatever becomes of them."""
    dice = random.Random(f"{SEED} {latency}")
    draw = LATENCIES[latency][1]
    for _ in range(requests):
        drawn = [(draw(dice), dice.random() < FAILURES) for _ in range(2)]
        yield [
            ScriptedCall(FAST_FAILURE_MS if failing == "fast" else ms, Failure("bad_status"))
            if fails
            else ScriptedCall(ms, Success(b"{}"))
            for ms, fails in drawn
        ]


def group(latency: str, failing: str, requests: int) -> Iterator[str]:
    """The lines of one table."""
    yield f"latency: {LATENCIES[latency][0]}; a call that fails does so {FAILING[failing]}"
    yield f"  {'':24} {'calls':>6} {'p50':>8} {'p99':>8} {'to both':>8} {'no success':>11}"
    found = {strategy.name: measure(strategy, latency, failing, requests) for strategy in STRATEGIES}
    for name, one in found.items():
        more = one.percentile(99) / found[BOTH].percentile(99) - 1
        p50, p99 = (f"{one.percentile(percent):5.0f} ms" for percent in (50, 99))
        yield f"  {name:24} {one.calls_per_request:6.3f} {p50} {p99} {more:+8.1%} {one.lost:11.2%}"


@click.command()
@click.option("--requests", default=REQUESTS, show_default=True)
@click.option("--only", type=click.Choice(list(LATENCIES)), help="One latency.")
def main(requests: int, only: str | None) -> None:
    """Print the tables."""
    for latency in [only] if only else LATENCIES:
        for failing in FAILING:
            for line in group(latency, failing, requests):
                click.echo(line)
            click.echo()


if __name__ == "__main__":
    main()
