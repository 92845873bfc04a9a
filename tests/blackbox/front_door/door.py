"""The real program between real clients and the simulated upstream, and what can be read off it."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import trio

from fanout.testing import Program
from tests.blackbox.conftest import request
from tests.bystander import Seen, bystander
from tests.forked import running
from tests.server.serving import Client

SETTLE_WITHIN_S: Final = 20  # generous: on a busy machine, after thousands of connections
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Reading:
    """A process from outside. descriptors: without those of upstream connections kept for later calls."""

    descriptors: int
    tasks: int
    resident_kib: int


@dataclass(frozen=True, slots=True)
class Door:
    """A `fanout serve` with one worker or more, in front of a `fanout upstream`. tls: how to speak to it."""

    fanout: Program
    simulator: Program
    tls: ssl.SSLContext | None = None

    async def connect(self, *, receive_buffer_bytes: int | None = None, handshake: bool = True) -> Client:
        """A new connection; over TLS, if that is spoken here, the handshake is done."""
        parts = urlsplit(self.fanout.urls["api"])
        sock = trio.socket.socket()
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        try:
            await sock.connect((parts.hostname, parts.port))
            stream = trio.SocketStream(sock)
            if self.tls is None or not handshake:
                return Client(stream)
            secured = trio.SSLStream(stream, self.tls, server_hostname="127.0.0.1", https_compatible=True)
            await secured.do_handshake()
        except BaseException:
            sock.close()
            raise
        return Client(secured)  # type: ignore[arg-type]  # an SSLStream, of which `Client` uses send and receive

    def bystander(
        self,
        *,
        timeout_ms: int = 300,
        every_s: float = 0.05,
        target: str = "/api/first",
        fresh: bool = False,
        http2: bool = False,
    ) -> AbstractContextManager[Seen]:
        """A steady client of this door, a process of its own: see `tests/bystander.py`."""
        return bystander(
            self.fanout.urls["api"],
            timeout_ms=timeout_ms,
            every_s=every_s,
            target=target,
            fresh=fresh,
            http2=http2,
            pids=[self.fanout.process.pid, self.simulator.process.pid],
        )

    async def statistics(self) -> list[Any]:
        """One `/statistics` a worker."""
        admins = [url for name, url in self.fanout.urls.items() if name.startswith("admin")]
        return [await _in_thread(request, url, "/statistics") for url in admins]

    async def reading(self) -> Reading:
        """Of a door with one worker."""
        (statistics,) = await self.statistics()
        kept = sum(origin["open"] for origin in statistics["upstream"]["origins"])
        return Reading(
            descriptors=len(os.listdir(f"/proc/{self.fanout.process.pid}/fd")) - kept,
            tasks=statistics["loop"]["tasks"],
            resident_kib=_resident_kib(self.fanout.process.pid),
        )

    async def settled(self, before: Reading) -> Reading:
        """The first reading with no more descriptors and tasks than before, or the last one in reach."""
        reading = await self.reading()
        with trio.move_on_after(SETTLE_WITHIN_S):
            while reading.descriptors > before.descriptors or reading.tasks > before.tasks:
                await trio.sleep(0.05)
                reading = await self.reading()
        return reading

    async def until_begun(self, races: int) -> None:
        """Wait until that many races, of all since the start, have begun."""
        with trio.fail_after(SETTLE_WITHIN_S):
            while sum(map(_begun, await self.statistics())) < races:
                await trio.sleep(0.05)

    async def calls(self, *, since: int = 0) -> list[dict[str, Any]]:
        """What the upstream's wire saw, oldest first."""
        found = await _in_thread(request, self.simulator.urls["upstream"], f"/calls?since={since}")
        calls: list[dict[str, Any]] = found["calls"]
        return calls

    async def load(self, *options: str) -> Any:
        """The report of a `fanout load` against this door, a process of its own."""
        command = [sys.executable, "-m", "fanout", "load", "--url", self.fanout.urls["api"], "--json"]
        done = await trio.run_process(
            [*command, "--quiet", *options], capture_stdout=True, capture_stderr=True, check=False
        )
        assert done.returncode in (0, 1), done.stderr.decode()
        return json.loads(done.stdout)

    async def bugs(self) -> int:
        """Bugs counted and tracebacks logged."""
        counted = sum(each["requests"]["guarantees_broken"]["bugs"] for each in await self.statistics())
        crashes = sum(each["connections"]["crashes"] for each in await self.statistics())
        return int(counted + crashes) + self.fanout.errors.lower().count(b"traceback")


def _resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def _begun(statistics: Any) -> int:
    races: dict[str, int] = statistics["requests"]["races"]
    return int(statistics["admission"]["in_flight"]) + sum(races.values())


async def _in_thread(function: Any, *arguments: Any) -> Any:
    reply = await trio.to_thread.run_sync(partial(function, *arguments))
    return reply.json


@contextmanager
def front_door(
    *,
    upstream: Sequence[str] = (),
    query: str = "",
    serve: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
) -> Iterator[Door]:
    """upstream, serve: more options of the two programs. query: of the upstream's URL. tls: see `Door`."""
    with running("upstream", "--bind", "127.0.0.1:0", *upstream) as simulator:
        url = f"{simulator.urls['upstream']}/api/work?{query}".rstrip("?")
        listeners = ("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0")
        with running("serve", *listeners, "--upstream", url, *serve) as fanout:
            yield Door(fanout, simulator, tls)


def socket_of(client: Client) -> trio.socket.SocketType:
    stream: object = client.stream
    if isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    assert isinstance(stream, trio.SocketStream)
    return stream.socket


@contextmanager
def closing(client: Client, *, reset: bool = False) -> Iterator[Client]:
    """Close at the end, by FIN or RST, synchronously. That the server has closed before is no error."""
    try:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            yield client
    finally:
        sock = socket_of(client)
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()


async def first_status(client: Client) -> int:
    """The status of the next answer; 0 when the connection ends without a whole one."""
    with suppress(AssertionError, trio.BrokenResourceError):
        status, _, _ = await client.answer()
        return status
    return 0
