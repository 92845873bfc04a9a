"""What must be zero when a world has ended: nothing a request started is left (G3, G7, G11)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import trio

from fanout.testing.world.facts import RequestFacts
from fanout.testing.world.network import End
from fanout.testing.world.oracle import INSTANT_S
from fanout.testing.world.scheduler import pending_deadlines
from fanout.testing.world.server import Server
from fanout.testing.world.upstreams import Upstreams


class Baseline:
    """Tasks and deadlines before the server was opened."""

    def __init__(self) -> None:
        self._tasks, self._deadlines = _alive()

    def left(self) -> Iterator[tuple[str, int]]:
        """What has been added since, and by how much."""
        tasks, deadlines = _alive()
        yield "tasks", tasks - self._tasks
        yield "deadlines", deadlines - self._deadlines


def leftovers(
    baseline: Baseline, server: Server, upstreams: Upstreams, clients: Sequence[End]
) -> Iterator[str]:
    """What is left once the server is closed."""
    leak_check = server.leak_check.statistics()
    counts = {
        **dict(baseline.left()),
        "connections to upstreams": upstreams.open_wires(),
        "connections of clients": sum(end.closed_at is None for end in clients),
        "connections held by the driver": server.driver.statistics().open,
        "admission permits": server.admission.in_flight,
        "calls": upstreams.running,
        "leaked tasks, by the leak check,": leak_check.leaked_tasks,
        "permits, by the leak check,": leak_check.leaked_permits,
        "connections, by the leak check,": leak_check.leaked_connections,
    }
    for what, count in counts.items():
        if count:
            yield f"G3: {count} {what} were left"


def not_looked_at(requests: Sequence[RequestFacts], server: Server) -> Iterator[str]:
    """G3: a leak check that does not run finds nothing."""
    raced = sum(bool(request.calls) for request in requests)
    looked_at = server.leak_check.statistics().requests
    if looked_at < raced:
        yield f"G3: the leak check has looked at {looked_at} requests, and {raced} have made calls"


def pool_leftovers(server: Server, upstreams: Upstreams) -> Iterator[str]:
    """G7: what the pool thinks it has when the last request has ended, beside what there is."""
    ended = upstreams.ended_wires(trio.current_time() - INSTANT_S)
    if ended:
        yield f"G7: {ended} idle connections are open although the upstream has ended them"
    for pool in server.transport.statistics().origins:
        if pool.in_use or pool.connecting:
            yield f"G7: the pool has {pool.in_use} connections in use, {pool.connecting} connecting"
        if pool.open != upstreams.open_wires():
            yield f"G7: the pool counts {pool.open} connections of {upstreams.open_wires()}"
        if pool.opened != pool.open + sum(pool.closed.values()):
            yield f"G7: the pool's counters do not add up: {pool}"


def bugs_told(told: Sequence[BaseException], upstreams: Upstreams) -> Iterator[str]:
    """G11: every scripted bug was told once, and there was no other."""
    leaves = [leaf for bug in told for leaf in _leaves(bug)]
    for bug in leaves:
        if bug not in upstreams.bugs:
            yield f"a bug: {bug!r}"
    for bug in upstreams.bugs:
        if leaves.count(bug) != 1:
            yield f"G11: {bug!r} was told {leaves.count(bug)} times"
    for crash in upstreams.crashes:
        yield f"the simulator crashed: {crash!r}"


def _leaves(bug: BaseException) -> list[BaseException]:
    if isinstance(bug, BaseExceptionGroup):
        return [leaf for part in bug.exceptions for leaf in _leaves(part)]
    return [bug]


def _alive() -> tuple[int, int]:
    return trio.lowlevel.current_statistics().tasks_living, pending_deadlines()
