"""What receipts, log lines and the leak check cost per request, in processor time.

    python -m benchmarks.leak_check [ROUNDS]

One process, in memory: the real application (edge, framework, handler, race) over calls that answer in a
millisecond. In every round each variant serves the same number of requests, in an order drawn each time.
A figure is a lower quartile over the rounds, which other programs on the machine disturb least. The
connection and the upstream's wires are not in it, so a share of a real request is less than what is printed.

On the loop: the time of the event loop's thread. In all: of the process, with the thread that writes logs.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from fanout.api.app import make_app
from fanout.api.exchange import Exchanges
from fanout.api.handlers import Races
from fanout.observe.leak_check import LeakCheck
from fanout.observe.log import Logs
from fanout.observe.log_writer import LogWriter, sink_of
from fanout.observe.observers import Observers, Receipts
from fanout.observe.request_log import RequestLog
from fanout.process.run import freeze_what_stays
from fanout.race.admission import Admission
from fanout.server.asgi import ARRIVAL_KEY, CLIENT_KEY, Message
from fanout.testing import answers, hangs

REQUESTS: Final = 100  # a variant and round
AT_A_TIME: Final = 10
TARGET: Final = "/api/first"


@dataclass(frozen=True)
class Variant:
    name: str
    receipts: bool = False
    lines: bool = False
    leak_check: bool = False


VARIANTS: Final = (
    Variant("bare"),
    Variant("receipts", receipts=True),
    Variant("receipts and lines", receipts=True, lines=True),
    Variant("leak_check", leak_check=True),
    Variant("all", receipts=True, lines=True, leak_check=True),
)


class Served:
    """One application, as a variant has it."""

    def __init__(self, variant: Variant, writer: LogWriter) -> None:
        admission = Admission(1000)
        self.leak_check = LeakCheck(lambda: admission.in_flight, lambda: 0) if variant.leak_check else None
        lines = [RequestLog(Logs(writer, "info", as_text=False), "all", ["a", "b"])] if variant.lines else []
        observers = [Receipts(lines)] if variant.receipts else []
        observer = Observers(observers)
        races = Races([answers(1), hangs()], observer, 1000, 30_000, lambda: 20.0)
        self.app = Exchanges(make_app(races), admission, observer, id_prefix="b", leak_check=self.leak_check)

    async def round(self) -> tuple[float, float]:
        """Seconds of the loop's thread, and of the process, for one request."""
        if self.leak_check is not None:
            trio.lowlevel.add_instrument(self.leak_check)
        began = time.thread_time(), time.process_time()
        async with trio.open_nursery() as nursery:
            for _ in range(AT_A_TIME):
                nursery.start_soon(self._requests, REQUESTS // AT_A_TIME)
        on_loop = time.thread_time() - began[0]
        await trio.sleep(0.05)  # for the writer to finish
        in_all = time.process_time() - began[1]
        if self.leak_check is not None:
            trio.lowlevel.remove_instrument(self.leak_check)
            assert self.leak_check.statistics().leaked_tasks == 0
        return on_loop / REQUESTS, in_all / REQUESTS

    async def _requests(self, number: int) -> None:
        for _ in range(number):
            await self.app(_scope(), _receive, _send)


class _Connected:
    left_at = None

    def reads_too_slowly(self) -> None:
        raise AssertionError


async def _receive() -> Message:
    await trio.sleep_forever()


async def _send(message: Message) -> None:
    await trio.lowlevel.checkpoint()


def _scope() -> dict[str, Any]:
    headers = [(b"host", b"b"), (b"accept", b"*/*"), (b"user-agent", b"b/1"), (b"connection", b"keep-alive")]
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": TARGET,
        "raw_path": TARGET.encode("ascii"),
        "query_string": b"timeout=1000",
        "root_path": "",
        "headers": headers,
        "client": ("192.0.2.1", 1),
        "server": ("192.0.2.2", 80),
        "extensions": {},
        ARRIVAL_KEY: trio.current_time(),
        CLIENT_KEY: _Connected(),
    }


async def measure(rounds: int) -> dict[str, list[tuple[float, float]]]:
    with open(os.devnull, "w") as sink:  # noqa: ASYNC230 - a benchmark
        writer = LogWriter(sink_of(sink))
        served = {variant.name: Served(variant, writer) for variant in VARIANTS}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in served}
        freeze_what_stays()  # as the server does
        for warm in (True, *[False] * rounds):
            for name in random.sample(list(served), len(served)):
                cost = await served[name].round()
                if not warm:
                    found[name].append(cost)
        writer.close()
        assert writer.statistics().dropped == 0
    return found


def _usual(costs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The lower quartiles, in microseconds."""
    on_loop, in_all = (statistics.quantiles(values, n=4)[0] * 1e6 for values in zip(*costs, strict=True))
    return on_loop, in_all


def main() -> None:
    found = trio.run(measure, int(sys.argv[1]) if len(sys.argv) > 1 else 60)
    bare_on_loop, bare_in_all = _usual(found["bare"])
    print(f"bare: {bare_on_loop:.0f} µs a request on the loop")  # noqa: T201 - its result
    for name, costs in found.items():
        on_loop, in_all = _usual(costs)
        more, more_in_all = on_loop - bare_on_loop, in_all - bare_in_all
        print(  # noqa: T201 - its result
            f"{name:20} +{more:5.1f} µs on the loop ({more / bare_on_loop:5.1%}), "
            f"+{more_in_all:5.1f} µs in all"
        )


if __name__ == "__main__":
    main()
