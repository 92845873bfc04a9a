"""The four measurements that every balancer is compared by. Each sends its own load, and waits for all of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.deploy.fleet.fleet import RATE_PER_S, Balancer, Counts, Fleet, Load, kill_with_work, wait_until

Say = Callable[[str], None]
ENOUGH_IN_FLIGHT = 5  # in a replica that is to be killed
AFTERMATH_S = 1.0  # after a kill, and after the new start: a balancer may stumble over either


def rolling_restarts(
    fleet: Fleet, balancer: Balancer, restarts: int, requests: int, say: Say, *options: str
) -> Counts:
    """Restart one replica after the other, with at least so many requests. options: of `fanout load`."""
    began_at = time.monotonic()
    load = Load(balancer.url, *options)
    _wait_for_work(fleet)
    fleet.rolling_restarts(restarts, say)
    time.sleep(max(0.0, began_at + 1 + requests / RATE_PER_S - time.monotonic()))
    return load.stop()


def kills(fleet: Fleet, balancer: Balancer, kills: int, say: Say) -> tuple[int, Counts]:
    """`kill -9` one replica after the other, and start it again. How many requests were in flight there."""
    in_flight = 0
    load = Load(balancer.url)
    for number in range(kills):
        replica = fleet.replicas[number % len(fleet.replicas)]
        wait_until(lambda: replica.statistics()["admission"]["in_flight"] >= ENOUGH_IN_FLIGHT)
        there = kill_with_work(replica, balancer)
        in_flight += there
        say(f"kill {number + 1} of {kills}: {there} requests were in flight")
        time.sleep(AFTERMATH_S)
        replica.start()
        time.sleep(AFTERMATH_S)
    return in_flight, load.stop()


def disconnects(fleet: Fleet, balancer: Balancer, requests: int) -> tuple[int, Counts]:
    """Half of the clients disconnect. How many disconnects the replicas have counted."""

    def counted() -> int:
        return sum(each["requests"]["clients_disconnected"] for each in fleet.statistics())

    before = counted()
    counts = Load(balancer.url, "--requests", f"{requests}", "--hang-up", "0.5").finish()
    fleet.wait_until_quiet()
    return counted() - before, counts


def shedding(fleet: Fleet, balancer: Balancer, requests: int) -> tuple[int, Counts]:
    """Just a load, for a fleet in which a replica has a low `--max-in-flight`. How often any has shed."""

    def shed() -> int:
        return sum(each["admission"]["refused"] for each in fleet.statistics())

    before = shed()
    counts = Load(balancer.url, "--requests", f"{requests}").finish()
    return shed() - before, counts


def _wait_for_work(fleet: Fleet) -> None:
    """Return when every replica has requests in flight: the load has begun, and reaches all of them."""
    wait_until(lambda: all(each["admission"]["in_flight"] for each in fleet.statistics()))
