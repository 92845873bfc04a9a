"""How much later than the call that it waited for does an answer come? One JSON object: milliseconds.

    python -m benchmarks.added_latency URL /api/first 100 10

100 requests per second for 10 s, open loop. The upstream says in its payload how long it has slept, so
*added* is the latency that the client saw, from the moment the request's bytes were written to the kernel's
stamp of the answer's last byte, less `time`. Only whole, useful answers count. A URL of the upstream itself
shows what its own timer and two loopback trips add: nginx sleeps by a timer of whole milliseconds.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import replace
from functools import partial

import trio

from benchmarks.varied import VariedGenerator
from fanout.tools.load.connection import Connection
from fanout.tools.load.endpoint import ENDPOINTS
from fanout.tools.load.outcome import Outcome
from fanout.tools.load.plan import LoadPlan, parsed_target
from fanout.tools.load.run import run_load

added_ms: list[float] = []


class Added(VariedGenerator):
    """Compares each useful answer with the time that it names."""

    def settled(
        self, connection: Connection, outcome: Outcome, answered_at: float | None, status: int, reason: str
    ) -> None:
        if outcome is Outcome.USEFUL and answered_at is not None:
            payload = json.loads(connection._reader.body)
            added_ms.append((answered_at - connection.written_at) * 1000 - payload["time"])
        super().settled(connection, outcome, answered_at, status, reason)


def main() -> None:
    url, path, rate, seconds = sys.argv[1:]
    plan = LoadPlan(
        target=parsed_target(url),
        mix=((replace(ENDPOINTS["first"], path=path), 1.0),),
        rate_per_s=float(rate),
        duration_s=float(seconds),
    )
    gc.freeze()  # a pause of the generator would look like one of the server
    report = trio.run(partial(run_load, plan, generator_class=Added))
    added_ms.sort()
    found = {f"p{percent}_ms": added_ms[len(added_ms) * percent // 100] for percent in (50, 99)}
    json.dump(
        {**found, "answers": len(added_ms), "late_launches": report["client"]["late_launch_share"]},
        sys.stdout,
    )


if __name__ == "__main__":
    main()
