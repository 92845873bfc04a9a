"""What the asyncio bridge costs, and which client can be cancelled behind it: the tables of docs/bridge.md.

    python -m benchmarks.bridge sweep      cancel one call at each of its points, for each client
    python -m benchmarks.bridge cost       processor time per call, next to a call of ours over HTTP

`cost` uses the upstream of benchmarks/pool.py, a process of its own that answers after 20 ms. Each figure is
the processor time of the client's process per call, connections warm, a new process for each cell. Of several
rounds the least is taken: on a shared machine, more is noise. `sweep` leaves out what is not installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import trio

from benchmarks import pool
from fanout.race.outcome import Failure, Success
from fanout.race.timings import CallTimings

AT_A_TIME: Final = (10, 100)
PROCESSES: Final = 2
OURS, ASYNCIO = "ours, over HTTP", "aiohttp, asyncio"
BRIDGE, NAIVE = "aiohttp, bridge", "aiohttp, `aio_as_trio`"
CLIENTS: Final = (OURS, BRIDGE, NAIVE, ASYNCIO)
SWEPT: Final = ("ours", "aiohttp", "httpx", "httpx2")
Outcome = Success | Failure


async def rounds_of(call: Callable[[CallTimings], Awaitable[Outcome]], at_a_time: int) -> list[float]:
    async def once() -> bytes:
        outcome = await call(CallTimings("benchmark", 0))
        assert isinstance(outcome, Success)
        return outcome.payload

    return await pool.trio_rounds(once, at_a_time)


async def ours(url: str, at_a_time: int) -> list[float]:
    from fanout.upstream.call import UpstreamCall
    from fanout.upstream.tls import client_context
    from fanout.upstream.transport import PoolTransport

    async with PoolTransport(max_connections=at_a_time, ssl_context=client_context()) as transport:
        return await rounds_of(UpstreamCall(transport, url), at_a_time)


async def over_trio_asyncio(url: str, at_a_time: int, client: str) -> list[float]:
    """The call of the example, as the bridge makes it or as trio-asyncio alone would."""

    from examples.asyncio_upstream import fetch, open_session
    from fanout.upstream.asyncio_call import AsyncioCall, aio_as_trio, open_bridge
    from tests.upstream.reports import Reports

    async with open_bridge(Reports()), aio_as_trio(open_session()) as session:
        function = partial(fetch, session, url)
        call = AsyncioCall(function) if client == BRIDGE else aio_as_trio(function)
        return await rounds_of(call, at_a_time)


def cell(client: str, url: str, at_a_time: int) -> None:
    logging.disable(logging.CRITICAL)
    match client:
        case _ if client == OURS:
            rounds = trio.run(ours, url, at_a_time)
        case _ if client == ASYNCIO:
            rounds = asyncio.run(pool.run_aiohttp(url, at_a_time, pool.ssl.create_default_context()))
        case _:
            rounds = trio.run(over_trio_asyncio, url, at_a_time, client)
    sys.stdout.write(json.dumps(rounds))


def cost() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(pool.__file__)), "--upstream", str(Path(folder) / "ca.pem")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as upstream:
            assert upstream.stdout is not None
            port = upstream.stdout.readline().split()[0]
            try:
                rows = {client: [cell_us(client, port, n) for n in AT_A_TIME] for client in CLIENTS}
            finally:
                upstream.terminate()
    say(f"| client | {' | '.join(f'{n} at a time' for n in AT_A_TIME)} |")
    say(f"| --- |{' ---: |' * len(AT_A_TIME)}")
    for client, cells in rows.items():
        say(f"| {client} | {' | '.join(f'{us:.0f}' for us in cells)} |")
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    say(f"\nPython {platform.python_version()}, {load}")


def cell_us(client: str, port: str, at_a_time: int) -> float:
    """Microseconds per call: the least of all rounds of some processes."""
    url = f"http://127.0.0.1:{port}/api/work"
    command = [sys.executable, "-m", "benchmarks.bridge", "--cell", client, url, str(at_a_time)]
    rounds: list[float] = []
    for _ in range(PROCESSES):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rounds += json.loads(done.stdout)
    return min(rounds) * 1e6


def sweep() -> None:
    from tests.upstream.asyncio_sweep import AUTHORITY, Found, sweep_client

    async def all_of(name: str) -> Found:
        total = Found()
        for tls in (None, AUTHORITY.server):
            for is_warm in (False, True):
                found = await sweep_client(name, tls, is_warm=is_warm)
                total.points += found.points
                total.slots_lost += found.slots_lost
                total.sockets_left += found.sockets_left
                total.tasks_left += found.tasks_left
        return total

    say("| client | points | slots lost | sockets left | tasks left |")
    say("| --- | ---: | ---: | ---: | ---: |")
    for name in SWEPT:
        shown = "ours, over HTTP" if name == "ours" else f"{name} {installed(name)}, bridge"
        try:
            found = trio.run(all_of, name)
        except ImportError:
            say(f"| {shown} | not installed | | | |")
        else:
            cells = (found.points, found.slots_lost, found.sockets_left, found.tasks_left)
            say(f"| {shown} | {' | '.join(map(str, cells))} |")


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("sweep", "cost"))
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        client, url, at_a_time = arguments.cell
        cell(client, url, int(at_a_time))
    elif arguments.what == "sweep":
        sweep()
    elif arguments.what == "cost":
        cost()
    else:
        parser.error("say what: sweep or cost")


if __name__ == "__main__":
    main()
