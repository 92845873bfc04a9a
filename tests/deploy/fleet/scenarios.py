"""What HAProxy with the shipped configuration has to do, with verdicts, and what the lines in it are for.

A scenario yields rows. A row without a verdict is a comparison: one line of the configuration was changed, or
a setting of fanout, and the figures show what for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fanout.tools.load.report import LATE_LAUNCHES_ALLOWED
from tests.deploy.fleet import measure
from tests.deploy.fleet.fleet import Balancer, Counts, Fleet
from tests.deploy.fleet.haproxy import Change, haproxy
from tests.deploy.fleet.measure import Say
from tests.deploy.fleet.own_answers import own_answers
from tests.deploy.fleet.row import Row, Size

LAME_DUCK_MS: Final = 2000
GOODPUT_SHARE: Final = 0.98  # of that without the retry
ENOUGH: Final = 0.5  # of the clients that disconnect: a busy machine reads many a request too late
WHY_LINES: Final = 30  # of HAProxy's log, with a broken verdict
# In HAProxy's log: a connection to a replica, no answer, a client that disconnected, the id of its request.
_ABORTED: Final = re.compile(r"/\d+/-1/\d+ \S+ \d+ - - C\S\S\S .* \{\S+\} ")

# One line of the shipped configuration each.
NO_RETRIES: Final = ("retries 2", "retries 0")
REUSE_ALWAYS: Final = ("http-reuse safe", "http-reuse always")
NO_503_RETRY: Final = ("retry-on conn-failure 503", "retry-on conn-failure")
EMPTY_RESPONSE: Final = ("retry-on conn-failure 503", "retry-on conn-failure 503 empty-response")
ALL_RETRYABLE: Final = ("retry-on conn-failure 503", "retry-on all-retryable-errors")
NO_ABORTONCLOSE: Final = ("option abortonclose", "no option abortonclose")
ONLY_IN_BACKEND: Final = ("option httpchk GET /readyz", "option httpchk GET /readyz\n option abortonclose")
_SERVERS: Final = "default-server check port 8081 inter 500ms fastinter 100ms fall 2 rise 1"
OBSERVE: Final = (_SERVERS, f"{_SERVERS} observe layer7 error-limit 10 on-error mark-down")
SHUTDOWN_SESSIONS: Final = (_SERVERS, f"{_SERVERS} on-marked-down shutdown-sessions")


def disconnect(fleet: Fleet, size: Size, say: Say) -> Iterator[Row]:
    """fanout counts every client that disconnects from HAProxy, and none without `abortonclose`.

    Left out are clients that reset their connection before HAProxy has read the request, and those that leave
    when the answer is there: HAProxy's log tells them apart.
    """
    with haproxy() as balancer:
        counted, counts = measure.disconnects(fleet, balancer, size.requests, rate_per_s=size.rate_per_s)
        left, waiting = counts["left"], len(_ABORTED.findall(balancer.log()))
        holds = counted == waiting and waiting > ENOUGH * left
        figures = {"left": left, "of them waiting": waiting, "counted": counted}
        yield _verdict("disconnect", "shipped", counts, "all waiting counted", holds, balancer, figures)
    if size.is_short:
        return
    with haproxy(NO_ABORTONCLOSE) as balancer:
        counted, counts = measure.disconnects(fleet, balancer, size.requests)
        holds = counted == 0 and counts["left"] > 0
        figures = {"left": counts["left"], "counted": counted}
        variant = "without abortonclose"
        yield _verdict("disconnect", variant, counts, "none counted", holds, balancer, figures)
    with haproxy(NO_ABORTONCLOSE, ONLY_IN_BACKEND) as balancer:
        counted, counts = measure.disconnects(fleet, balancer, size.requests)
        variant = "abortonclose only in the backend"
        yield Row("disconnect", variant, {"left": counts["left"], "counted": counted, **_figures(counts)})


def shed(fleet: Fleet, size: Size, say: Say) -> Iterator[Row]:
    """A replica that sheds loses nobody while others have room."""
    replica = fleet.replicas[0]
    replica.kill()
    replica.start("--max-in-flight", "3")
    with haproxy() as balancer:
        times, counts = measure.shedding(fleet, balancer, size.requests, rate_per_s=size.rate_per_s)
        holds = times > 0 and counts.lost == 0
        yield _verdict("shed", "shipped", counts, "0 lost", holds, balancer, {"times shed": times})
    if not size.is_short:
        with haproxy(NO_503_RETRY) as balancer:
            times, counts = measure.shedding(fleet, balancer, size.requests)
            yield Row("shed", "without the 503 retry", {"times shed": times, **_figures(counts)})
    replica.kill()
    replica.start()


def kill(fleet: Fleet, size: Size, say: Say) -> Iterator[Row]:
    """`kill -9` loses at most what was in flight in that replica."""
    with haproxy() as balancer:
        in_flight, counts = measure.kills(
            fleet, balancer, size.kills, say, rate_per_s=size.rate_per_s, aftermath_s=size.aftermath_s
        )
        holds = in_flight > 0 and counts.lost <= in_flight
        figures = {"in flight": in_flight}
        yield _verdict("kill", "shipped", counts, "lost at most in flight", holds, balancer, figures)
    if not size.is_short:
        with haproxy(EMPTY_RESPONSE) as balancer:
            in_flight, counts = measure.kills(fleet, balancer, size.kills, say)
            yield Row("kill", "with empty-response", {"in flight": in_flight, **_figures(counts)})


def restarts(fleet: Fleet, size: Size, say: Say) -> Iterator[Row]:
    """Rolling restarts with the lame duck lose nobody, whatever is retried or reused."""
    variants = [(*retries, *reuse) for retries in ((), (NO_RETRIES,)) for reuse in ((), (REUSE_ALWAYS,))]
    loads = {"keep-alive": [], "no keep-alive": ["--no-keep-alive"]}
    if size.is_short:
        variants, loads = variants[:1], {"keep-alive": []}
    for changes in variants:
        for load, options in loads.items():
            variant = f"{_names(changes)}, {load}"
            before = len(fleet.exit_codes)
            with haproxy(*changes) as balancer:
                counts = _restarted(fleet, balancer, size, variant, say, *options)
                codes = fleet.exit_codes[before:]
                holds = counts.lost == 0 and codes == [0] * size.restarts
                figures = {"restarts": len(codes)}
                yield _verdict("restarts", variant, counts, "0 lost, exit code 0", holds, balancer, figures)


def shutdown_sessions(fleet: Fleet, size: Size, say: Say) -> Iterator[Row]:
    """What a rolling restart loses with `on-marked-down shutdown-sessions`."""
    with haproxy(SHUTDOWN_SESSIONS) as balancer:
        counts = _restarted(fleet, balancer, size, "shutdown-sessions", say)
        yield Row("shutdown-sessions", "forbidden", _figures(counts))


def no_lame_duck(fleet: Fleet, size: Size, say: Say) -> Iterator[Row]:
    """What a rolling restart loses without the lame duck."""
    for changes in ((), (NO_RETRIES,)):
        with haproxy(*changes) as balancer:
            variant = _names(changes)
            counts = _restarted(fleet, balancer, size, variant, say)
            yield Row("no-lame-duck", variant, _figures(counts))


def limit(fleet: Fleet, size: Size, say: Say) -> Iterator[Row]:
    """When every replica is at its limit, the retry of a 503 costs no goodput."""
    goodput = {"without the 503 retry": 0.0, "shipped": 0.0}
    for number in range(size.rounds):
        for variant in sorted(goodput, reverse=number % 2 == 0):  # so that a slow machine is so for both
            with haproxy(*(() if variant == "shipped" else (NO_503_RETRY,))) as balancer:
                counts = fleet.load(balancer.url, "--requests", f"{size.requests}").finish()
                goodput[variant] += counts.useful_per_s / size.rounds
                say(f"{variant}: {counts.useful_per_s:.1f} useful a second, {_figures(counts)}")
    without, shipped = goodput.values()
    figures = {"useful/s": round(shipped, 1), "without": round(without, 1)}
    holds = without > 0 and shipped >= GOODPUT_SHARE * without
    yield Row("limit", "shipped", figures, f"at least {GOODPUT_SHARE:.0%} of that without", holds)


def upstream_fails(fleet: Fleet, size: Size, say: Say) -> Iterator[Row]:
    """When the upstream fails, every client gets fanout's own 500, which says so."""
    variants: dict[str, tuple[Change, ...]] = {
        "shipped": (),
        "all-retryable-errors": (ALL_RETRYABLE,),
        "observe layer7": (OBSERVE,),
    }
    for variant, changes in variants.items():
        with haproxy(*changes) as balancer:
            counts = fleet.load(balancer.url, "--requests", f"{size.requests}").finish()
            figures = {
                "our 500": counts.reasons.get("no_success", 0) + counts.reasons.get("deadline", 0),
                "HAProxy's 503": counts.reasons.get("no_replica", 0),
            }
            if changes:
                yield Row("upstream-fails", variant, {**figures, **_figures(counts)})
            else:
                holds = figures["our 500"] == counts.offered
                yield _verdict("upstream-fails", variant, counts, "only our 500", holds, balancer, figures)


@dataclass(frozen=True, slots=True)
class Scenario:
    """fleet: options of `Fleet`. Scenarios next to each other that have the same run on one fleet."""

    fleet: Mapping[str, Any]
    rows: Callable[[Fleet, Size, Say], Iterator[Row]]


_USUAL: Final = {"lame_duck_ms": LAME_DUCK_MS}
# 30 requests of 0.2 s: 150 a second of the 200 that are offered. A fixed time, so that two runs compare.
_AT_THEIR_LIMIT: Final = {
    "also": ("--max-in-flight", "10"),
    "upstream": ("--reliable", "--min-delay-ms", "200", "--max-delay-ms", "200"),
}
SCENARIOS: Final = {
    "disconnect": Scenario(_USUAL, disconnect),
    "shed": Scenario(_USUAL, shed),
    "kill": Scenario(_USUAL, kill),
    "restarts": Scenario(_USUAL, restarts),
    "own-answers": Scenario(_USUAL, lambda fleet, size, say: own_answers(fleet)),
    "shutdown-sessions": Scenario(_USUAL, shutdown_sessions),
    "no-lame-duck": Scenario({"lame_duck_ms": 0}, no_lame_duck),
    "limit": Scenario(_AT_THEIR_LIMIT, limit),
    "upstream-fails": Scenario({"upstream": ("--reliable", "--fault", "status=1")}, upstream_fails),
}
IN_SHORT: Final = ("disconnect", "shed", "kill", "restarts", "own-answers")


def _restarted(fleet: Fleet, balancer: Balancer, size: Size, variant: str, say: Say, *options: str) -> Counts:
    def say_which(line: str) -> None:
        say(f"{variant}: {line}")

    return measure.rolling_restarts(
        fleet,
        balancer,
        size.restarts,
        size.restarts_requests,
        say_which,
        *options,
        rate_per_s=size.rate_per_s,
    )


def _names(changes: tuple[Change, ...]) -> str:
    return ", ".join(new for _, new in changes) or "shipped"


def _figures(counts: Counts) -> dict[str, int | float]:
    """What a load came to, without the outcomes that nobody had."""
    results = {name: number for name, number in counts.outcomes.items() if number and name != "useful"}
    busy = {"% sent late": round(100 * counts.sent_late)} if counts.sent_late > LATE_LAUNCHES_ALLOWED else {}
    return {"requests": counts.offered, "lost": counts.lost, **results, **busy}


def _verdict(
    scenario: str,
    variant: str,
    counts: Counts,
    must: str,
    holds: bool,
    balancer: Balancer,
    figures: Mapping[str, int | float] | None = None,
) -> Row:
    # What was not a plain success, and what HAProxy noticed of its servers.
    lines = [line for line in balancer.log().splitlines() if " 200 " not in line]
    why = "" if holds else "\n".join(lines[-WHY_LINES:])
    return Row(scenario, variant, {**(figures or {}), **_figures(counts)}, must, holds, why)
