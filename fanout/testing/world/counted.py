"""What is counted at the end of a simulation run, for the monitor. `leftovers` counts for the judge.

Threads are counted once, for both.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

import trio

from fanout.testing.world.ended import Ended
from fanout.testing.world.network import End
from fanout.testing.world.scheduler import pending_deadlines
from fanout.testing.world.server import Server
from fanout.testing.world.upstreams import Upstreams


class ThreadStarts:
    """How many threads were `started` within it: a profile function that each new one calls, once."""

    def __init__(self) -> None:
        self.started = 0

    def __enter__(self) -> ThreadStarts:
        self._before = threading.getprofile()
        threading.setprofile(self._begins)
        return self

    def __exit__(self, *exception: object) -> None:
        threading.setprofile(self._before)

    def _begins(self, frame: FrameType, event: str, argument: object) -> None:
        sys.setprofile(None)
        self.started += 1


class Counts:
    """Made before the server is opened: `tasks` and `deadlines` are counted from then on."""

    def __init__(self) -> None:
        self._tasks = trio.lowlevel.current_statistics().tasks_living
        self._deadlines = pending_deadlines()

    def at_last_answer(self, ended: Ended, server: Server, upstreams: Upstreams) -> None:
        """The last connection has ended, and the pool is still open."""
        for origin in server.transport.statistics().origins:
            ended.pools.append(
                {
                    "in_use": origin.in_use,
                    "connecting": origin.connecting,
                    "open": origin.open,
                    "opened": origin.opened,
                    "closed": sum(origin.closed.values()),
                    "sockets": upstreams.open_wires(),
                }
            )
        ended.dead_but_open = upstreams.ended_wires(trio.current_time() - 1e-6)

    def at_end(self, ended: Ended, server: Server, upstreams: Upstreams, clients: Sequence[End]) -> None:
        """The server is closed."""
        ended.left = {
            "tasks": trio.lowlevel.current_statistics().tasks_living - self._tasks,
            "deadlines": pending_deadlines() - self._deadlines,
            "upstream connections": upstreams.open_wires(),
            "client connections": sum(end.closed_at is None for end in clients),
            "connections of the driver": server.driver.statistics().open,
            "admission permits": server.admission.in_flight,
            "calls": upstreams.running,
        }
        found = server.leak_check.statistics()
        ended.leaks = {
            "tasks": found.leaked_tasks,
            "permits": found.leaked_permits,
            "upstream connections": found.leaked_connections,
        }
        ended.leak_checked = found.requests
        ended.bugs_raised = sorted(repr(bug) for bug in upstreams.bugs)
        ended.noted = [f"the simulated upstream crashed: {crash!r}" for crash in upstreams.crashes]


def bugs_in(reported: BaseException) -> Iterator[str]:
    """The names of the bugs in a report, which may be a group of them."""
    if isinstance(reported, BaseExceptionGroup):
        for one in reported.exceptions:
            yield from bugs_in(one)
    else:
        yield repr(reported)
