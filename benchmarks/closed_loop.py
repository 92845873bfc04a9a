"""`fanout load` with clients that wait: each sends its next request when its last one was answered.

    python -m benchmarks.closed_loop URL first 1000 200 2 5 0

200 clients, which connect one after another within the first half of 2 s of warm-up, and 5 s that count, with
a timeout of 1000 ms. No two requests are alike (`varied.py`). A client that is shed asks again after 0 s, so
at once, whatever `Retry-After` says: the worst clients a server can have. One that loses its connection opens
another. Prints the report of `fanout load --json`.

The report's `client.cpu_share` tells how near the generator came to what its core can do.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from functools import partial
from typing import Any

import trio

from benchmarks.varied import VariedGenerator
from fanout.tools.load.connection import Connection
from fanout.tools.load.endpoint import ENDPOINTS
from fanout.tools.load.outcome import Outcome
from fanout.tools.load.plan import LoadPlan, parsed_target
from fanout.tools.load.run import run_load


class ClosedLoop(VariedGenerator):
    """A connection that is idle or gone is a client whose next request is due, until the time is over."""

    retry_after_s = 0.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._refused: set[Connection] = set()

    def settled(self, connection: Connection, outcome: Outcome, *rest: Any) -> None:
        if outcome is Outcome.REFUSED and self.retry_after_s:
            self._refused.add(connection)
        super().settled(connection, outcome, *rest)

    def idle(self, connection: Connection) -> None:
        super().idle(connection)
        self._due(connection)

    def gone(self, connection: Connection) -> None:
        super().gone(connection)
        self._due(connection)

    def _due(self, connection: Connection) -> None:
        if connection in self._refused:
            self._refused.remove(connection)
            self._nursery.start_soon(self._later)
        else:
            self._next()

    async def _later(self) -> None:
        await trio.sleep(self.retry_after_s)
        self._next()

    def _next(self) -> None:
        now = trio.current_time()
        if now < self.tally.started_at + (self.plan.duration_s or 0):
            self.launch(now)


def main() -> None:
    url, endpoint, timeout_ms, *numbers = sys.argv[1:]
    clients, warmup_s, seconds = int(numbers[0]), float(numbers[1]), float(numbers[2])
    ClosedLoop.retry_after_s = float(numbers[3])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    plan = LoadPlan(
        target=parsed_target(url),
        mix=((ENDPOINTS[endpoint], 1.0),),
        rate_per_s=clients,
        duration_s=seconds,
        warmup_s=warmup_s,
        timeouts_ms=(int(timeout_ms),),
    )
    arrivals = [client * warmup_s / 2 / clients for client in range(clients)]
    run = partial(run_load, plan, offsets=arrivals, generator_class=ClosedLoop)
    gc.freeze()  # a pause of the generator would look like one of the server
    json.dump(trio.run(run), sys.stdout)


if __name__ == "__main__":
    main()
