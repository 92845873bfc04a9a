"""What HAProxy with the shipped configuration has to do, with verdicts, and what the lines in it are for.

A scenario yields rows. A row without a verdict is a comparison: one line of the configuration was changed, or
a setting of fanout, and the figures show what for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tests.deploy.fleet import measure
from tests.deploy.fleet.fleet import Balancer, Counts, Fleet, Load
from tests.deploy.fleet.haproxy import Change, haproxy
from tests.deploy.fleet.measure import Say

LAME_DUCK_MS: Final = 2000
GOODPUT_SHARE: Final = 0.98  # of that without the retry

# One line of the shipped configuration each.
NO_RETRIES: Final = ("retries 2", "retries 0")
REUSE_ALWAYS: Final = ("http-reuse safe", "http-reuse always")
NO_503_RETRY: Final = ("retry-on conn-failure 503", "retry-on conn-failure")
EMPTY_RESPONSE: Final = ("retry-on conn-failure 503", "retry-on conn-failure 503 empty-response")
ALL_RETRYABLE: Final = ("retry-on conn-failure 503", "retry-on all-retryable-errors")
NO_ABORTONCLOSE: Final = ("option abortonclose", "no option abortonclose")
_SERVERS: Final = "default-server check port 8081 inter 500ms fastinter 100ms fall 2 rise 1"
OBSERVE: Final = (_SERVERS, f"{_SERVERS} observe layer7 error-limit 10 on-error mark-down")
SHUTDOWN_SESSIONS: Final = (_SERVERS, f"{_SERVERS} on-marked-down shutdown-sessions")


@dataclass(frozen=True, slots=True)
class Size:
    """How much of it. restarts, requests: of each load under rolling restarts."""

    restarts: int = 12
    restarts_requests: int = 9000
    kills: int = 3
    requests: int = 1500
    rounds: int = 4
    is_short: bool = False


FULL: Final = Size()
SHORT: Final = Size(1, 200, 1, 200, 1, is_short=True)


@dataclass(frozen=True, slots=True)
class Row:
    """What was done and seen. must: in words; "" for a comparison. holds: `None` for a comparison."""

    scenario: str
    variant: str
    figures: Mapping[str, int | float]
    must: str = ""
    holds: bool | None = None
    why: str = ""  # of a broken verdict: what the balancer said of the requests


def restarts(size: Size, say: Say) -> Iterator[Row]:
    """Rolling restarts with the lame duck lose nobody, whatever is retried or reused."""
    variants = [(retries, reuse) for retries in ((), (NO_RETRIES,)) for reuse in ((), (REUSE_ALWAYS,))]
    loads = {"keep-alive": [], "no keep-alive": ["--no-keep-alive"]}
    if size.is_short:
        variants, loads = variants[:1], {"keep-alive": []}
    with Fleet(lame_duck_ms=LAME_DUCK_MS, is_quick=size.is_short) as fleet:
        for retries, reuse in variants:
            changes = (*retries, *reuse)
            for load, options in loads.items():
                with haproxy(*changes) as balancer:
                    variant = f"{_names(changes)}, {load}"
                    counts = _restarted(fleet, balancer, size, variant, say, *options)
                    yield _verdict("restarts", variant, counts, "0 lost", counts.lost == 0, balancer)
        if [end for end in fleet.ends if end[0] != 0]:
            yield Row("restarts", "exit codes", {}, "all 0", holds=False, why=str(fleet.ends)[-2000:])


def restarts_compared(size: Size, say: Say) -> Iterator[Row]:
    """How many a rolling restart loses without the lame duck, and with a forbidden option."""
    with Fleet(lame_duck_ms=0) as fleet:
        for changes in ((), (NO_RETRIES,)):
            with haproxy(*changes) as balancer:
                variant = f"{_names(changes)}, no lame duck"
                counts = _restarted(fleet, balancer, size, variant, say)
                yield Row("restarts-compared", variant, _figures(counts))
    with Fleet(lame_duck_ms=LAME_DUCK_MS) as fleet, haproxy(SHUTDOWN_SESSIONS) as balancer:
        counts = _restarted(fleet, balancer, size, "shutdown-sessions", say)
        yield Row("restarts-compared", "shutdown-sessions", _figures(counts))


def kill(size: Size, say: Say) -> Iterator[Row]:
    """`kill -9` loses at most what was in flight in that replica."""
    with Fleet(lame_duck_ms=0, is_quick=size.is_short) as fleet:
        with haproxy() as balancer:
            in_flight, counts = measure.kills(fleet, balancer, size.kills, say)
            figures = {"in flight": in_flight}
            holds = 0 < in_flight >= counts.lost
            yield _verdict("kill", "shipped", counts, "lost at most in flight", holds, balancer, figures)
        if not size.is_short:
            with haproxy(EMPTY_RESPONSE) as balancer:
                in_flight, counts = measure.kills(fleet, balancer, size.kills, say)
                yield Row("kill", "with empty-response", {"in flight": in_flight, **_figures(counts)})


def disconnect(size: Size, say: Say) -> Iterator[Row]:
    """fanout counts every client that disconnects from HAProxy, and none without `abortonclose`."""
    with Fleet(lame_duck_ms=0, is_quick=size.is_short) as fleet:
        for variant, changes, must in (
            ("shipped", (), "all counted"),
            ("without abortonclose", (NO_ABORTONCLOSE,), "none counted"),
        ):
            with haproxy(*changes) as balancer:
                counted, counts = measure.disconnects(fleet, balancer, size.requests)
                left = counts["left"]
                holds = left > 0 and counted == (left if not changes else 0)
                figures = {"left": left, "counted": counted}
                yield _verdict("disconnect", variant, counts, must, holds, balancer, figures)


def shed(size: Size, say: Say) -> Iterator[Row]:
    """A replica that sheds loses nobody while others have room."""
    with Fleet(lame_duck_ms=0, is_quick=size.is_short) as fleet:
        fleet.replicas[0].restart("--max-in-flight", "3")
        with haproxy() as balancer:
            times, counts = measure.shedding(fleet, balancer, size.requests)
            holds = times > 0 and counts.lost == 0
            yield _verdict("shed", "shipped", counts, "0 lost", holds, balancer, {"times shed": times})
        if not size.is_short:
            with haproxy(NO_503_RETRY) as balancer:
                times, counts = measure.shedding(fleet, balancer, size.requests)
                yield Row("shed", "without the 503 retry", {"times shed": times, **_figures(counts)})


def limit(size: Size, say: Say) -> Iterator[Row]:
    """When every replica is at its limit, the retry of a 503 costs no goodput."""
    # 30 requests of 0.2 s: 150 a second of the 200 offered. A fixed time, so that the two compare.
    upstream = ("--reliable", "--min-delay-ms", "200", "--max-delay-ms", "200")
    options = ("--max-in-flight", "10")
    goodput = {"without the 503 retry": 0.0, "shipped": 0.0}
    with Fleet(lame_duck_ms=0, also=options, upstream=upstream, is_quick=size.is_short):
        for number in range(size.rounds):
            order = sorted(
                goodput, reverse=number % 2 == 0
            )  # by turns, so that a slow machine is so for both
            for variant in order:
                with haproxy(*(() if variant == "shipped" else (NO_503_RETRY,))) as balancer:
                    counts = Load(balancer.url, "--requests", f"{size.requests}").finish()
                    goodput[variant] += counts.useful_per_s / size.rounds
                    say(f"{variant}: {counts.useful_per_s:.1f} useful a second")
    without, shipped = goodput.values()
    figures = {"useful/s": round(shipped, 1), "without": round(without, 1)}
    holds = without > 0 and shipped >= GOODPUT_SHARE * without
    yield Row("limit", "shipped", figures, f"at least {GOODPUT_SHARE:.0%} of that without", holds)


def upstream(size: Size, say: Say) -> Iterator[Row]:
    """When the upstream fails, every client gets fanout's own 500, which says so."""
    variants: dict[str, tuple[Change, ...]] = {"shipped": ()}
    if not size.is_short:
        variants |= {"all-retryable-errors": (ALL_RETRYABLE,), "observe layer7": (OBSERVE,)}
    failing = ("--reliable", "--fault", "status=1")
    with Fleet(lame_duck_ms=0, upstream=failing, is_quick=size.is_short):
        for variant, changes in variants.items():
            with haproxy(*changes) as balancer:
                counts = Load(balancer.url, "--requests", f"{size.requests}").finish()
                figures = {
                    "our 500": counts.reasons.get("no_success", 0) + counts.reasons.get("deadline", 0),
                    "HAProxy's 503": counts.reasons.get("no_replica", 0),
                }
                if changes:
                    yield Row("upstream", variant, {**figures, **_figures(counts)})
                    continue
                holds = figures["our 500"] == counts.offered
                yield _verdict("upstream", variant, counts, "only our 500", holds, balancer, figures)


Scenario = Callable[[Size, Say], Iterator[Row]]
SCENARIOS: Final[dict[str, Scenario]] = {
    "disconnect": disconnect,
    "shed": shed,
    "limit": limit,
    "upstream": upstream,
    "kill": kill,
    "restarts": restarts,
    "restarts-compared": restarts_compared,
}
COMPARISONS: Final = ("restarts-compared",)  # not in the short form


def _restarted(fleet: Fleet, balancer: Balancer, size: Size, variant: str, say: Say, *options: str) -> Counts:
    def say_which(line: str) -> None:
        say(f"{variant}: {line}")

    return measure.rolling_restarts(
        fleet, balancer, size.restarts, size.restarts_requests, say_which, *options
    )


def _names(changes: tuple[Change, ...]) -> str:
    return ", ".join(new for _, new in changes) or "shipped"


def _figures(counts: Counts) -> dict[str, int | float]:
    """What a load came to, without the outcomes that nobody had."""
    results = {name: number for name, number in counts.outcomes.items() if number and name != "useful"}
    return {"requests": counts.offered, "lost": counts.lost, **results}


def _verdict(
    scenario: str,
    variant: str,
    counts: Counts,
    must: str,
    holds: bool,
    balancer: Balancer,
    figures: Mapping[str, int | float] | None = None,
) -> Row:
    why = "" if holds else balancer.log()[-4000:]
    return Row(scenario, variant, {**(figures or {}), **_figures(counts)}, must, holds, why)
