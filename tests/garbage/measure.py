"""How much of what a kind of request leaves behind needs the cyclic garbage collector.

The whole service runs here, over real sockets, with the collector off. Its clients and its upstreams are
another process (`peers`), so everything that is found belongs to the server.

What was alive before the measurement stays frozen: call `gc.unfreeze` when all are done.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Final
from unittest.mock import patch

import trio
import trustme

from fanout.config import load
from fanout.process.resources import open_transport
from fanout.process.service import Service
from fanout.server.listeners import open_listeners
from tests.garbage.kinds import Kind
from tests.garbage.peers import Order

ROOT: Final = Path(__file__).parents[2]
SETTLED_WITHIN_S: Final = 10
WARM_UP: Final = 5  # requests: caches are filled, and code that specialises itself has done so
BLOCK_BYTES: Final = 64  # of a Python object, on average
AT_ONCE: Final = 500  # requests in one order


class Peers:
    """The clients and the upstreams. `ports` are those of the upstreams, by scheme."""

    def __init__(self, process: subprocess.Popen[str], certificate: Path, key: Path, authority: Path) -> None:
        self.certificate, self.key, self.authority = certificate, key, authority
        self._process = process
        self.ports: dict[str, int] = self._read()

    async def run(self, order: Order) -> dict[str, int]:
        """What the clients saw, and how often."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        seen: dict[str, int] = await trio.to_thread.run_sync(self._read)
        return seen

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def start_peers(folder: Path) -> Peers:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    files = [folder / name for name in ("chain.pem", "key.pem", "authority.pem")]
    files[0].write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(files[1])
    authority.cert_pem.write_to_path(files[2])
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.garbage.peers", *map(str, files)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Peers(process, *files)


@dataclass(frozen=True)
class Measured:
    """times: requests, or connections. seen: by their clients. objects: what only the collector frees.

    grown_bytes: of resident memory, held_bytes: of what was allocated and not freed, both before the
    collector ran. Resident memory does not grow where an earlier measurement left room, and so needs a
    process of its own; what is held is exact. bugs: that the server counted.
    """

    times: int
    seen: dict[str, int]
    objects: Counter[str]
    grown_bytes: int
    held_bytes: int
    bugs: int


async def measure(
    kind: Kind, peers: Peers, times: int, *, warm_up: int = WARM_UP, within_s: float = inf
) -> Measured:
    """Ask `times` times in this way of a new service, or as often as goes into `within_s` seconds."""
    async with _serving(kind, peers) as (ports, stop):
        await _settled(ports["admin"])  # its first answers fill caches as well
        await _ask(kind, peers, ports, warm_up)
        await _settled(ports["admin"])
        gc.collect()
        gc.freeze()  # what is alive now is not looked at again: the count is quick, and of nothing else
        resident, held = resident_bytes(), held_bytes()
        seen: Counter[str] = Counter()
        done, began_at = 0, trio.current_time()
        while done < times and trio.current_time() < began_at + within_s:
            now = min(AT_ONCE, times - done)
            seen.update(await _ask(kind, peers, ports, now, stop if kind.drains else None))
            done += now
        bugs = 0 if kind.drains else await _settled(ports["admin"])
        if not kind.drains:
            return _measured(done, seen, resident, held, bugs)
    return _measured(done, seen, resident, held, bugs)


def _measured(times: int, seen: Counter[str], resident: int, held: int, bugs: int) -> Measured:
    held_now, resident_now = held_bytes(), resident_bytes()
    return Measured(times, dict(seen), _take_garbage(), resident_now - resident, held_now - held, bugs)


async def _ask(
    kind: Kind, peers: Peers, ports: dict[str, int], times: int, stop: trio.Event | None = None
) -> dict[str, int]:
    order: Order = {
        "action": kind.action,
        "times": times,
        "port": ports[kind.listener],
        "data": kind.data.decode("latin-1"),
        "alpn": kind.alpn,
        "calls": kind.calls,
    }
    if not kind.drains:
        return await peers.run(order)
    if stop is None:
        return {}  # no warm-up: it can be done once
    await peers.run(order)
    stop.set()
    return await peers.run({**order, "action": "release"})


@asynccontextmanager
async def _serving(kind: Kind, peers: Peers) -> AsyncIterator[tuple[dict[str, int], trio.Event]]:
    scheme = "https" if kind.upstream in ("https", "mute") else "http"
    urls = [f"{scheme}://localhost:{peers.ports[kind.upstream]}/{path}" for path in kind.upstreams]
    flags = {"upstreams": ",".join(urls), "upstream_ca": str(peers.authority), **kind.settings}
    if kind.alpn is not None or kind.tls:
        flags |= {"tls_cert": str(peers.certificate), "tls_key": str(peers.key)}
    settings = load({}, {"bind": "127.0.0.1:0", "admin_bind": "127.0.0.1:0", **flags}).settings
    public, admin = open_listeners(settings.bind, "FANOUT_BIND"), open_listeners(settings.admin_bind, "A")
    stop, gc_was_enabled = trio.Event(), gc.isenabled()
    gc.disable()
    try:
        with ExitStack() as patches:
            for target, replacement in kind.patches.items():
                patches.enter_context(patch(target, replacement))
            service = Service(settings, open_transport(settings))
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(service.run, public, admin, stop))
                yield {"public": public[0].getsockname()[1], "admin": admin[0].getsockname()[1]}, stop
                stop.set()
    finally:
        if gc_was_enabled:
            gc.enable()


async def _settled(admin_port: int) -> int:
    """Wait until nothing is open and everything has been told of. The bugs that were found."""
    with trio.fail_after(SETTLED_WITHIN_S):
        while True:
            now = await _statistics(admin_port)
            if not now["connections"]["open"] and not now["admission"]["in_flight"]:
                return int(now["requests"]["guarantees_broken"]["bugs"])
            await trio.sleep(0.005)


async def _statistics(admin_port: int) -> Any:
    """The server's own, which tells of every request that has ended before it answers."""
    async with await trio.open_tcp_stream("127.0.0.1", admin_port) as stream:
        await stream.send_all(b"GET /statistics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join([bytes(part) async for part in stream])
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def _take_garbage() -> Counter[str]:
    """What the collector finds, by type. It is freed."""
    gc.garbage.clear()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
    finally:
        gc.set_debug(0)
    found = Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.garbage)
    gc.garbage.clear()
    gc.collect()
    return found


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class _MallInfo2(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_: ClassVar = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    ]


def held_bytes() -> int:
    """Allocated and not freed: by C code, OpenSSL's included, and about as much by Python's objects."""
    info = _mallinfo2()
    return int(info.uordblks + info.hblkhd) + sys.getallocatedblocks() * BLOCK_BYTES


_mallinfo2: Any = getattr(
    ctypes.CDLL(None), "mallinfo2", _MallInfo2
)  # glibc 2.33; else C code is not counted
_mallinfo2.restype = _MallInfo2
