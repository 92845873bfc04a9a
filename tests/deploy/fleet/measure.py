"""The four measurements that every balancer is compared by. Each sends its own load and waits for the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from tests.deploy.fleet.fleet import (
    RATE_PER_S,
    Balancer,
    Counts,
    Fleet,
    Replica,
    kill_with_work,
    wait_until,
)

Say = Callable[[str], None]
ENOUGH_IN_FLIGHT = 3  # in a replica that is to be killed
AFTERMATH_S = 1.0  # after a kill, and after the new start: a balancer may stumble over either


def rolling_restarts(
    fleet: Fleet,
    balancer: Balancer,
    restarts: int,
    requests: int,
    say: Say,
    *options: str,
    rate_per_s: int = RATE_PER_S,
) -> Counts:
    """Restart one replica after the other, with at least so many requests. options: of `fanout load`."""
    load = fleet.load(balancer.url, *options, rate_per_s=rate_per_s)
    _wait_for_work(fleet)
    began_at = time.monotonic()
    fleet.rolling_restarts(restarts, say)
    time.sleep(max(0.0, began_at + requests / rate_per_s - time.monotonic()))
    return load.stop()


def kills(
    fleet: Fleet,
    balancer: Balancer,
    kills: int,
    say: Say,
    *,
    rate_per_s: int = RATE_PER_S,
    aftermath_s: float = AFTERMATH_S,
) -> tuple[int, Counts]:
    """`kill -9` one replica after the other, and start it again. How many requests were in flight there."""
    in_flight = 0
    load = fleet.load(balancer.url, rate_per_s=rate_per_s)
    for number in range(kills):
        replica = fleet.replicas[number % len(fleet.replicas)]
        wait_until(partial(_has_work, replica))
        there = kill_with_work(replica, load)
        in_flight += there
        say(f"kill {number + 1} of {kills}: {there} requests were in flight")
        time.sleep(aftermath_s)
        replica.start()
        time.sleep(aftermath_s)
    return in_flight, load.stop()


def disconnects(
    fleet: Fleet, balancer: Balancer, requests: int, *, rate_per_s: int = RATE_PER_S
) -> tuple[int, Counts]:
    """Half of the clients disconnect. How many disconnects the replicas have counted."""

    def counted() -> int:
        return sum(each["requests"]["clients_disconnected"] for each in fleet.statistics())

    before = counted()
    options = ["--requests", f"{requests}", "--hang-up", "0.5"]
    counts = fleet.load(balancer.url, *options, rate_per_s=rate_per_s).finish()
    fleet.wait_until_quiet()
    return counted() - before, counts


def shedding(
    fleet: Fleet, balancer: Balancer, requests: int, *, rate_per_s: int = RATE_PER_S
) -> tuple[int, Counts]:
    """Just a load, for a fleet in which a replica has a low `--max-in-flight`. How often any has shed."""

    def shed() -> int:
        return sum(each["admission"]["refused"] for each in fleet.statistics())

    before = shed()
    counts = fleet.load(balancer.url, "--requests", f"{requests}", rate_per_s=rate_per_s).finish()
    return shed() - before, counts


def _wait_for_work(fleet: Fleet) -> None:
    """Return when every replica has requests in flight: the load has begun, and reaches all of them."""
    wait_until(lambda: all(map(_in_flight, fleet.replicas)))


def _has_work(replica: Replica) -> bool:
    return _in_flight(replica) >= ENOUGH_IN_FLIGHT


def _in_flight(replica: Replica) -> int:
    in_flight: int = replica.statistics()["admission"]["in_flight"]
    return in_flight
