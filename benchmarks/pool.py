"""CPU of one upstream call: this transport, httpx's own, httpx2 and aiohttp, side by side in one run.

    python benchmarks/pool.py                     10, 100, 500 and 2000 calls at a time, plain and TLS
    python benchmarks/pool.py --json pool.json --plot pool.png

The upstream is a process of its own and answers after 20 ms with a small JSON object, so that the requested
number of calls is really in progress. A figure is the CPU of the client's process per call, by its own clock,
with warm connections; the client process is a new one for each cell. Of several rounds the least is taken: on
a shared machine, more is noise. A cell that takes too long is ended, and shown as such. "transport alone" is
one request, built once, given to the transport without httpx's client around it; below it, what it costs when
no connection is reused, as after a cancelled call.

Needs httpx2, aiohttp and, for the plot, matplotlib, in addition to what `.[test]` brings.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import trio

ALONE = "fanout, transport alone"
NEW = "the same, a new connection each"
UNRESUMED = "the same, sessions not resumed"
CLIENTS = ("fanout", ALONE, NEW, UNRESUMED, "httpx", "httpx2", "aiohttp")
CONCURRENCY = (10, 100, 500, 2000)
SCHEMES = ("http", "https")
DELAY_S = 0.02
BODY = b'{"time": 150}'
MIN_CALLS = 1500  # a round; at least three a client
ROUNDS = 3
MAX_CELL_S = 40.0
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 22:00:00 GMT\r\n"
    b"Server: upstream\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


# The upstream: asyncio's protocols, because the upstream must not be what is measured.


class Upstream(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            asyncio.get_running_loop().call_later(DELAY_S, self._transport.write, ANSWER)


async def upstream(ca_file: str) -> None:
    import trustme

    ca = trustme.CA()
    ca.cert_pem.write_to_path(ca_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    loop = asyncio.get_running_loop()
    ports = []
    for tls in (None, context):
        server = await loop.create_server(Upstream, "127.0.0.1", 0, ssl=tls, backlog=4096)
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)  # noqa: T201 - the parent reads it
    await asyncio.Event().wait()


# One cell: one client at one concurrency, in a process of its own.

Call = Callable[[], Awaitable[bytes]]


async def trio_rounds(call: Call, at_a_time: int) -> list[float]:
    async def client(calls: int) -> None:
        for _ in range(calls):
            assert await call() == BODY

    async def one_round(calls: int) -> float:
        cpu = time.process_time()
        async with trio.open_nursery() as nursery:
            for _ in range(at_a_time):
                nursery.start_soon(client, calls)
        return (time.process_time() - cpu) / (calls * at_a_time)

    calls = max(3, MIN_CALLS // at_a_time)
    await one_round(2)
    return [await one_round(calls) for _ in range(ROUNDS)]


async def run_fanout(url: str, at_a_time: int, context: ssl.SSLContext) -> list[float]:
    import httpx

    from fanout.upstream.transport import PoolTransport

    transport = PoolTransport(max_connections=at_a_time, ssl_context=context)
    async with httpx.AsyncClient(transport=transport, timeout=None, trust_env=False) as client:

        async def call() -> bytes:
            async with client.stream("GET", url) as response:
                return await response.aread()

        return await trio_rounds(call, at_a_time)


async def run_transport(url: str, at_a_time: int, context: ssl.SSLContext, client: str) -> list[float]:
    import httpx

    from fanout.upstream import tls
    from fanout.upstream.transport import PoolTransport

    keepalive_expiry_s = 30.0 if client == ALONE else 0.0
    if client == UNRESUMED:
        patch.object(tls, "VERIFICATION_S", 0.0).start()  # no session is resumed, until this process ends
    async with PoolTransport(
        max_connections=at_a_time, ssl_context=context, keepalive_expiry_s=keepalive_expiry_s
    ) as transport:
        request = httpx.AsyncClient(trust_env=False, verify=context).build_request("GET", url)

        async def call() -> bytes:
            return (await transport.handle_async_request(request)).content

        return await trio_rounds(call, at_a_time)


async def run_httpx(module: Any, url: str, at_a_time: int, context: ssl.SSLContext) -> list[float]:
    limits = module.Limits(max_connections=at_a_time, max_keepalive_connections=at_a_time)
    async with module.AsyncClient(limits=limits, timeout=None, trust_env=False, verify=context) as client:

        async def call() -> bytes:
            async with client.stream("GET", url) as response:
                body: bytes = await response.aread()
                return body

        return await trio_rounds(call, at_a_time)


async def run_aiohttp(url: str, at_a_time: int, context: ssl.SSLContext) -> list[float]:
    import aiohttp

    async def client(session: aiohttp.ClientSession, calls: int) -> None:
        for _ in range(calls):
            async with session.get(url) as response:
                assert await response.read() == BODY

    async def one_round(session: aiohttp.ClientSession, calls: int) -> float:
        cpu = time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(at_a_time):
                group.create_task(client(session, calls))
        return (time.process_time() - cpu) / (calls * at_a_time)

    connector = aiohttp.TCPConnector(limit=at_a_time, ssl=context)
    calls = max(3, MIN_CALLS // at_a_time)
    async with aiohttp.ClientSession(connector=connector) as session:
        await one_round(session, 2)
        return [await one_round(session, calls) for _ in range(ROUNDS)]


def cell(client: str, url: str, at_a_time: int, ca_file: str) -> None:
    logging.disable(logging.CRITICAL)
    context = ssl.create_default_context(cafile=ca_file)
    match client:
        case "fanout":
            rounds = trio.run(run_fanout, url, at_a_time, context)
        case _ if client in (ALONE, NEW, UNRESUMED):
            rounds = trio.run(run_transport, url, at_a_time, context, client)
        case "aiohttp":
            rounds = asyncio.run(run_aiohttp(url, at_a_time, context))
        case _:
            rounds = trio.run(run_httpx, __import__(client), url, at_a_time, context)
    print(json.dumps(rounds))  # noqa: T201 - the parent reads it


# All cells.

Results = dict[str, dict[str, dict[int, float | str]]]


def measure(concurrency: list[int]) -> Results:
    results: Results = {scheme: {client: {} for client in CLIENTS} for scheme in SCHEMES}
    with tempfile.TemporaryDirectory() as folder:
        ca_file = str(Path(folder) / "ca.pem")
        command = [sys.executable, __file__, "--upstream", ca_file]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            ports = dict(zip(SCHEMES, process.stdout.readline().split(), strict=True))
            try:
                for scheme in SCHEMES:
                    for at_a_time in concurrency:
                        for client in CLIENTS:
                            url = f"{scheme}://127.0.0.1:{ports[scheme]}/api/work"
                            result = one_cell(client, url, at_a_time, ca_file)
                            results[scheme][client][at_a_time] = result
                            sys.stderr.write(f"{scheme} {at_a_time} {client} {shown(result)}\n")
            finally:
                process.terminate()
    return results


def one_cell(client: str, url: str, at_a_time: int, ca_file: str) -> float | str:
    """Microseconds a call, or why there is no figure."""
    command = [sys.executable, __file__, "--cell", client, url, str(at_a_time), ca_file]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MAX_CELL_S, check=True)
    except subprocess.TimeoutExpired:
        return f"not done in {MAX_CELL_S:.0f} s"
    except subprocess.CalledProcessError as error:
        said = [line.strip(" |") for line in error.stderr.splitlines() if "Error: " in line]
        return said[-1] if said else "failed"
    best_s: float = min(json.loads(done.stdout))
    return best_s * 1e6


def shown(result: float | str) -> str:
    return result if isinstance(result, str) else f"{result:.0f}"


def table(results: Results) -> str:
    lines = []
    for scheme, clients in results.items():
        concurrency = list(clients["fanout"])
        lines += [
            f"CPU of one call over {scheme}, in µs, by the number of calls at a time:",
            "",
            f"| client | {' | '.join(map(str, concurrency))} |",
            f"| --- |{' ---: |' * len(concurrency)}",
            *(
                f"| {client} | {' | '.join(shown(cells[at_a_time]) for at_a_time in concurrency)} |"
                for client, cells in clients.items()
            ),
            "",
        ]
    return "\n".join(lines)


def plot(results: Results, path: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results), figsize=(12, 4), sharey=True, squeeze=False)
    for axis, (scheme, clients) in zip(axes[0], results.items(), strict=True):
        for client, cells in clients.items():
            known = {at_a_time: cost for at_a_time, cost in cells.items() if isinstance(cost, float)}
            axis.plot(list(known), list(known.values()), marker="o", label=client)
        axis.set(title=scheme, xlabel="calls at a time", xscale="log", yscale="log")
        axis.set_xticks(list(clients["fanout"]), [str(count) for count in clients["fanout"]])
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("CPU of one call, µs")
    axes[0][-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--concurrency", type=int, nargs="+", default=list(CONCURRENCY))
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--plot", metavar="FILE", help="draw them, as PNG")
    parser.add_argument("--upstream", help=argparse.SUPPRESS)
    parser.add_argument("--cell", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.upstream:
        asyncio.run(upstream(arguments.upstream))
    elif arguments.cell:
        client, url, at_a_time, ca_file = arguments.cell
        cell(client, url, int(at_a_time), ca_file)
    else:
        results = measure(arguments.concurrency)
        print(table(results))  # noqa: T201 - the result
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")
        if arguments.plot:
            plot(results, arguments.plot)


if __name__ == "__main__":
    main()
