"""What each balancer does with the shipped configuration: rows of one table, each figure with a verdict."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.deploy.balancers.shipped import KINDS, Change, Shipped, asked
from tests.deploy.fleet import measure
from tests.deploy.fleet.fleet import UPSTREAM, WITHIN_S, Balancer, Counts, Fleet
from tests.deploy.fleet.haproxy import haproxy
from tests.deploy.fleet.measure import Say
from tests.deploy.fleet.row import Size

HAPROXY: Final = "haproxy"  # measured next to the others when it is installed
LAME_DUCK_MS: Final = 2000
LONGEST_MS: Final = 30_000  # the default of FANOUT_MAX_TIMEOUT_MS
SHORT_LONGEST_MS: Final = 2000
FIRST_LOOKS: Final = 1  # the request by which `fanout load` recognizes a fanout
COUNTED_SHARE: Final = 0.95  # on a busy machine a replica may answer before it reads that the client is gone
SHED_SHARE_LOST: Final = (
    0.02  # round robin can choose the same replica again; without a retry a third is lost
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure in words, and whether it is as it has to be; `None`: nothing is demanded.

    is_error: it could not be measured.
    """

    text: str
    holds: bool | None = None
    is_error: bool = False


Measurement = Callable[[Fleet, Size, Say, Balancer], Cell]


def start(name: str, *changes: Change) -> Balancer:
    return haproxy(*changes) if name == HAPROXY else Shipped(name, *changes)


def restarts(fleet: Fleet, size: Size, say: Say, balancer: Balancer) -> Cell:
    counts = measure.rolling_restarts(
        fleet, balancer, size.restarts, size.restarts_requests, say, rate_per_s=size.rate_per_s
    )
    return Cell(f"{counts.lost} of {counts.offered:,} lost{_late(counts)}", counts.lost == 0)


def kill(fleet: Fleet, size: Size, say: Say, balancer: Balancer) -> Cell:
    in_flight, counts = measure.kills(
        fleet, balancer, size.kills, say, rate_per_s=size.rate_per_s, aftermath_s=size.aftermath_s
    )
    return Cell(f"{counts.lost} of {in_flight} in flight lost{_late(counts)}", counts.lost <= in_flight)


def disconnect(fleet: Fleet, size: Size, say: Say, balancer: Balancer) -> Cell:
    """A client may disconnect before its request reaches a replica: then there is nothing to count."""
    before = _admitted(fleet)
    counted, counts = measure.disconnects(fleet, balancer, size.requests, rate_per_s=size.rate_per_s)
    never_there = counts.offered - (_admitted(fleet) - before - FIRST_LOOKS)
    there = counts["left"] - never_there
    return Cell(f"{counted} of {there} counted", 0 < COUNTED_SHARE * there <= counted <= there)


def shed(fleet: Fleet, size: Size, say: Say, balancer: Balancer) -> Cell:
    """One replica has a limit of three requests, the others have room."""
    fleet.replicas[0].restart("--max-in-flight", "3")
    try:
        shed, counts = measure.shedding(fleet, balancer, size.requests, rate_per_s=size.rate_per_s)
    finally:
        fleet.replicas[0].restart()
    holds = shed > 0 and counts.lost <= SHED_SHARE_LOST * counts.offered
    return Cell(f"{counts.lost} of {counts.offered:,} rejected, {shed:,} retried", holds)


def failing(fleet: Fleet, size: Size, say: Say, balancer: Balancer) -> Cell:
    """The upstream fails every call."""
    with _faults({"status": 1.0}):
        counts = fleet.load(
            balancer.url, "--requests", f"{size.requests}", rate_per_s=size.rate_per_s
        ).finish()
    ours = counts.reasons.get("no_success", 0) + counts.reasons.get("deadline", 0)
    return Cell(f"{ours:,} of {counts.offered:,} our 500", ours == counts.offered)


def longest(fleet: Fleet, size: Size, say: Say, balancer: Balancer) -> Cell:
    """The upstream hangs, and a client waits as long as it may: fanout's own answer has to come first."""
    timeout_ms = SHORT_LONGEST_MS if size.is_short else LONGEST_MS
    with _faults({"hang_before_head": 1.0}):
        answer = asked(f"{balancer.url}/api/first?timeout={timeout_ms}")
    reason = answer.problem.get("reason", "none")
    return Cell(f"{answer.status} with reason {reason}", (answer.status, reason) == (500, "deadline"))


def own_503(name: str, balancer: Balancer) -> Cell:
    """What it says without any replica."""
    answer = asked(f"{balancer.url}/api/first")
    if name in KINDS and not KINDS[name].has_documents:
        return Cell(f"{answer.status} without a document", answer.status in (502, 503))
    reason = answer.problem.get("reason", "none")
    holds = (answer.status, reason, answer.may_retry) == (503, "no_replica", True)
    return Cell(f"{answer.status} with reason {reason}", holds)


MEASUREMENTS: Final[dict[str, Measurement]] = {
    "rolling restarts": restarts,
    "kill -9": kill,
    "client disconnects": disconnect,
    "one replica sheds": shed,
    "the upstream fails": failing,
    "the longest timeout": longest,
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A shipped file with one line changed, and the measurement that shows what the line is for."""

    name: str
    title: str
    change: Change
    measurement: str


_SHED, _KILL = "one replica sheds", "kill -9"
VARIANTS: Final = (
    Variant(
        "nginx",
        "nginx without http_503",
        ("proxy_next_upstream error timeout http_503;", "proxy_next_upstream error timeout;"),
        _SHED,
    ),
    Variant("envoy", "Envoy with FULL_SCAN", ("choice_count: 2", "selection_method: FULL_SCAN"), _SHED),
    Variant("caddy", "Caddy with least_conn", ("lb_policy round_robin", "lb_policy least_conn"), _SHED),
    Variant("caddy", "Caddy, retries without interval", ("lb_try_interval 1ms", "lb_try_interval 0"), _SHED),
    Variant("traefik", "Traefik with p2c", ("strategy: wrr", "strategy: p2c"), _SHED),
    Variant(
        "nginx",
        "nginx, retries at any time",
        ("proxy_next_upstream_timeout 250ms;", "proxy_next_upstream_timeout 1h;"),
        _KILL,
    ),
    *(
        Variant("caddy", "Caddy, retries at any time", ("lb_try_duration 250ms", "lb_try_duration 1h"), each)
        for each in (_KILL, _SHED)
    ),
)


@contextmanager
def _faults(shares: Mapping[str, float]) -> Iterator[None]:
    """In the block, this share of the upstream's calls fails so."""
    _put_faults(shares)
    try:
        yield
    finally:
        _put_faults({})


def _put_faults(shares: Mapping[str, float]) -> None:
    body = json.dumps({"faults": shares}).encode()
    request = urllib.request.Request(f"http://{UPSTREAM}/settings", body, method="PUT")
    with urllib.request.urlopen(request, timeout=WITHIN_S):
        pass


def _admitted(fleet: Fleet) -> int:
    return sum(each["admission"]["admitted"] for each in fleet.statistics())


def _late(counts: Counts) -> str:
    return f", {counts['late']} late" if counts["late"] else ""
