"""The real server on real sockets: connection driver, app, admission, race and pool, in one event loop with
its test.

Listeners, each with a driver of its own: plain, TLS (HTTP/1.1 and HTTP/2), and narrow ones that hold one
connection only.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import trio
import trio.testing
import trustme

from fanout.api.app import make_app
from fanout.api.exchange import Exchanges
from fanout.api.handlers import Races
from fanout.api.problems import render
from fanout.config import Bind
from fanout.race.admission import Admission
from fanout.race.events import EVENTS, BugFound, Event
from fanout.server.asgi import Receive, Scope, Send
from fanout.server.certificates import Certificate
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from fanout.server.listeners import open_listeners
from fanout.server.serve import serve
from fanout.upstream.call import UpstreamCall
from fanout.upstream.transport import PoolTransport
from tests.faults.clock import HandClock
from tests.faults.peers import Client, Upstream
from tests.server.apps import answer, lifespan

LARGE: Final = 200_000  # more than all buffers of both ends
SHED: Final = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nshed"
MANY_ITERATIONS: Final = 3000  # for one step of a test: more is a loop that never rests
_SEND_BUFFER: Final = 16 * 1024


class Spins(Exception):
    """The event loop turns and turns without getting anywhere."""


@dataclass(frozen=True, slots=True)
class Contexts:
    """TLS of the test: what the server shows, and contexts of clients and of an upstream."""

    certificate: Certificate
    client: ssl.SSLContext
    client_h2: ssl.SSLContext
    upstream: ssl.SSLContext
    to_upstream: ssl.SSLContext


@cache
def contexts() -> Contexts:
    authority = trustme.CA()
    cert = authority.issue_cert("127.0.0.1", "localhost")
    folder = TemporaryDirectory()
    _FOLDERS.append(folder)
    chain, key = Path(folder.name) / "chain.pem", Path(folder.name) / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in cert.cert_chain_pems))
    cert.private_key_pem.write_to_path(str(key))

    def client(*alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        context.set_alpn_protocols(list(alpn))
        return context

    upstream = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cert.configure_cert(upstream)
    return Contexts(Certificate(chain, key), client("http/1.1"), client("h2"), upstream, client("http/1.1"))


_FOLDERS: Final[list[TemporaryDirectory[str]]] = []  # they last as long as the process


class Server:
    """drivers: by listener. bugs: everything that was reported as one."""

    interests = EVENTS
    MUST_BE_0: Final = ("admission permits", "calls", "open", "unaccounted")

    def __init__(self, nursery: trio.Nursery, clock: HandClock, *, tls_upstream: bool, name: str) -> None:
        self.nursery = nursery
        self.clock = clock
        self.upstream = Upstream(contexts().upstream if tls_upstream else None)
        scheme = "https" if tls_upstream else "http"
        self.transport = PoolTransport(
            max_connections=20, ssl_context=contexts().to_upstream, look_up=self._look_up
        )
        call = UpstreamCall(self.transport, f"{scheme}://{name}:{self.upstream.port}/")
        races = Races((call, call), self, 30_000, 30_000, lambda: 20)
        self.admission = Admission(10)
        self.exchanges = Exchanges(make_app(races), self.admission, self, id_prefix="fault")
        self.bugs: list[BaseException] = []
        self.refusal: bytes | None = None
        self.drivers: dict[str, Driver] = {}
        self.ports: dict[str, int] = {}
        self.stop = trio.Event()
        self.look_up_error: BaseException | None = None
        self.iterations = 0

    def notify(self, event: Event) -> None:
        if isinstance(event, BugFound):
            self.bugs.append(event.exception)

    async def open(self) -> None:
        await self.nursery.start(self.transport.run)
        for name, limits, tls in (
            ("plain", Limits(), None),
            ("tls", Limits(), contexts().certificate),
            ("narrow", Limits(max_connections=1), None),
            ("narrow tls", Limits(max_connections=1), contexts().certificate),
        ):
            listeners = open_listeners(Bind("127.0.0.1", 0), "FANOUT_BIND")
            for listener in listeners:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # inherited
            self.ports[name] = listeners[0].getsockname()[1]
            driver = Driver(limits, on_crash=self.bugs.append, render=render, shed=lambda _: self.refusal)
            self.drivers[name] = driver
            run = partial(serve, self._app, driver, listeners, certificate=tls, grace_s=5)
            await self.nursery.start(partial(run, shutdown=self.stop.wait))

    def client(self, listener: str = "plain") -> Client:
        return Client(self.ports[listener], contexts().client if "tls" in listener else None)

    async def quiet(self) -> None:
        """Until the server waits for what its clients and upstreams do next."""
        await trio.testing.wait_all_tasks_blocked()

    async def settle(self, *clients: Client, turns: int = 50) -> None:
        """Let server, upstream and these clients talk until none of them has anything to say."""
        await self.quiet()
        for _ in range(turns):
            happened = self.upstream.turn()
            for client in clients:
                happened |= client.turn()
            await self.quiet()
            if not happened:
                return

    def drain(self) -> None:
        self.exchanges.draining = True
        self.stop.set()

    def leftovers(self) -> dict[str, int]:
        """What a request or a connection may have left behind. The same before and after, or it is a leak."""
        left = {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "tasks": _tasks_below(self.nursery),
            "admission permits": self.admission.in_flight,
            "calls": self.transport.connections_in_use(),
        }
        of_drivers = [driver.statistics() for driver in self.drivers.values()]
        left["open"] = sum(each.open for each in of_drivers)
        # Each connection is open, or counted in exactly one way of ending.
        left["unaccounted"] = sum(each.accepted - each.open - sum(each.ended.values()) for each in of_drivers)
        left["connecting"] = sum(origin.connecting for origin in self.transport.statistics().origins)
        return left

    def ended(self) -> set[str]:
        """In which ways connections have ended."""
        return {end for driver in self.drivers.values() for end in driver.statistics().ended}

    async def _look_up(self, host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
        await trio.lowlevel.checkpoint()
        if self.look_up_error is not None:
            raise self.look_up_error
        return [(socket.AF_INET, ("127.0.0.1", port))]

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif path == "/large":
            await answer(send, b"x" * LARGE)
        elif path == "/echo":
            body, more = b"", True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message["body"]
                more = message["more_body"]
            await answer(send, body)
        elif path == "/stays":
            await answer(send, b"answered")
            await trio.sleep_forever()
        elif path == "/waits":
            await trio.sleep_forever()
        else:
            await self.exchanges(scope, receive, send)


def _tasks_below(nursery: trio.Nursery) -> int:
    return sum(1 + sum(_tasks_below(below) for below in task.child_nurseries) for task in nursery.child_tasks)


class _Iterations(trio.abc.Instrument):
    """Calls `stop` when the loop turns for too long without a rest."""

    def __init__(self, server: Server, stop: Callable[[], None]) -> None:
        self._server = server
        self._stop = stop

    def before_io_wait(self, timeout: float) -> None:
        self._server.iterations += 1
        if self._server.iterations > MANY_ITERATIONS:
            self._stop()


@asynccontextmanager
async def serving(
    clock: HandClock, *, tls_upstream: bool = False, name: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    """A server until the block ends. What ends it before raises here. Raises `Spins` if it never rests."""
    async with trio.open_nursery() as nursery:
        server = Server(nursery, clock, tls_upstream=tls_upstream, name=name)
        stop = partial(nursery.cancel_scope.cancel, reason="it never rests")
        watch = _Iterations(server, stop)
        trio.lowlevel.add_instrument(watch)
        try:
            await server.open()
            yield server
        finally:
            server.upstream.close()
            trio.lowlevel.remove_instrument(watch)
            nursery.cancel_scope.cancel(reason="the test is done with the server")
    if server.iterations > MANY_ITERATIONS:
        raise Spins
