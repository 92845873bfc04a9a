"""The experiment: idle upstream connections that are dead without a sign. How many requests suffer?

    python -m tests.chaos.dead_connections

A firewall forgets every connection, as after its restart or its timeout: what is sent on one vanishes,
new ones work. The pool then holds dead connections that look alive. Each is found out by a call that
waits on it in vain.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from typing import Final

import trio

from tests.chaos.link import Conditions
from tests.chaos.namespaces import UPSTREAMS, network, why_not, within
from tests.chaos.programs import end, read_json, start_fanout

CONNECTIONS: Final = 20  # idle in the pool, before the firewall forgets
REQUESTS: Final = 60
TIMEOUT_MS: Final = 1000
_ASK: Final = """
import json, sys, time, urllib.request, urllib.error
from concurrent.futures import ThreadPoolExecutor
def ask(_):
    began_at = time.monotonic()
    try:
        status = urllib.request.urlopen(sys.argv[1], timeout=20).status
    except urllib.error.HTTPError as error:
        status = error.code
    return status, round((time.monotonic() - began_at) * 1000)
with ThreadPoolExecutor(int(sys.argv[3])) as threads:
    print(json.dumps(list(threads.map(ask, range(int(sys.argv[2]))))))
"""


@dataclass(frozen=True, slots=True)
class Suffered:
    """After a firewall has forgotten the pool's connections: of `REQUESTS`, one after the other.

    without_answer: ended by their deadline. slow: succeeded, but waited on a dead connection before.
    """

    idle_for_s: float
    idle: int
    statuses: dict[int, int]
    without_answer: int
    slow: int


async def suffer(idle_for_s: float, *options: str) -> Suffered:
    """Warm the pool, forget its connections, wait, and ask."""
    with network(Random(1)) as net, ExitStack() as programs:
        upstream = start_fanout(
            net.upstreams, "upstream", "--bind", f"{UPSTREAMS}:9001", "--reliable",
            *("--min-delay-ms", "50", "--max-delay-ms", "50"),
        )  # fmt: skip
        programs.callback(end, [upstream])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(net.to_upstreams.run)
            server = start_fanout(
                net.server,
                *("serve", "--bind", "127.0.0.1:8180", "--admin-bind", "127.0.0.1:8181"),
                *("--upstream", f"http://{UPSTREAMS}:9001/api/work", "--max-loop-lag-ms", "1000", *options),
            )
            programs.callback(end, [server])
            await _ask(net.server, CONNECTIONS, CONNECTIONS // 2)
            (before,) = await read_json(net.server, "http://127.0.0.1:8181/statistics")
            net.to_upstreams.forget_flows()
            net.to_upstreams.conditions = Conditions(forgets=True)
            await trio.sleep(idle_for_s)
            answers = await _ask(net.server, REQUESTS, 1)
            nursery.cancel_scope.cancel(reason="it is over")
    statuses = Counter(status for status, _ in answers)
    return Suffered(
        idle_for_s=idle_for_s,
        idle=sum(origin["idle"] for origin in before["upstream"]["origins"]),
        statuses=dict(statuses),
        without_answer=statuses[500],
        slow=sum(took_ms > TIMEOUT_MS / 4 for status, took_ms in answers if status == 200),
    )


async def _ask(namespace: str, requests: int, at_once: int) -> Sequence[tuple[int, int]]:
    url = f"http://127.0.0.1:8180/api/all?timeout={TIMEOUT_MS}"
    command = [*within(namespace), sys.executable, "-c", _ASK, url, f"{requests}", f"{at_once}"]
    done = await trio.run_process(command, capture_stdout=True)
    return [(status, took_ms) for status, took_ms in json.loads(done.stdout)]


def main() -> int:
    if (reason := why_not()) is not None:
        sys.stdout.write(f"skipped: {reason}\n")
        return 3
    for idle_for_s in (0.5, 5.0, 10.0, 20.0):
        sys.stdout.write(f"{trio.run(suffer, idle_for_s)}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
