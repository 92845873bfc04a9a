"""A driver to test: over memory streams in virtual time, or on a real socket with hypercorn's worker."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import trio
import trio.testing

from fanout.api.problems import render
from fanout.loop.stream import MAX_RECEIVE_BYTES
from fanout.server.asgi import App
from fanout.server.certificates import Certificate
from fanout.server.driver import Driver, never
from fanout.server.limits import Limits
from fanout.server.serve import Connections, serve
from fanout.server.transport import Transport

SOON_S = 10  # generous: what is waited for is about to happen
VIRTUAL_DAY_S = 86_400  # longer than any test: one that waits for nothing fails at once, and does not hang
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Client:
    """The other end of a connection: sends bytes as they are, reads answers by their length."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self._ahead = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def _more(self) -> bool:
        data = bytes(await self.stream.receive_some(65536))
        self._ahead += data
        return bool(data)

    async def answer(self, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, fields with lower-case names, body. It must have a content-length."""
        while b"\r\n\r\n" not in self._ahead:
            assert await self._more(), f"closed after {self._ahead!r}"
        head, _, rest = self._ahead.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
        length = 0 if head_only else int(fields["content-length"])
        self._ahead = rest
        while len(self._ahead) < length:
            assert await self._more(), f"closed within a body: {self._ahead!r}"
        body, self._ahead = self._ahead[:length], self._ahead[length:]
        return int(line.split()[1]), fields, body

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        await self.send(data)
        return await self.answer()

    async def rest_or_reset(self) -> bytes:
        """Everything until the end. Raises `trio.BrokenResourceError` for an RST."""
        while await self._more():
            pass
        return self._ahead

    async def rest(self) -> bytes:
        """Everything until the end. An RST is an end, too."""
        with suppress(trio.BrokenResourceError):
            await self.rest_or_reset()
        return self._ahead

    async def closed(self) -> bool:
        """Whether nothing but the end comes. Waits for it."""
        return await self.rest() == b""


def get(path: str = "/", *fields: str, version: str = "1.1") -> bytes:
    return "\r\n".join((f"GET {path} HTTP/{version}", "Host: a", *fields, "", "")).encode("latin-1")


async def until(condition: Callable[[], object], within_s: float = SOON_S) -> None:
    """Wait, by the clock, until something outside Trio's sight is so."""
    with trio.fail_after(within_s):
        while True:
            await trio.sleep(0.002)
            if condition():
                return


class World:
    """One driver. `connect` gives clients, `crashes` is what was reported."""

    def __init__(self, app: App, limits: Limits, refuse: Callable[[int], bytes | None]) -> None:
        self.app = app
        self.crashes: list[BaseException] = []
        self.driver = Driver(
            limits, on_crash=self.crashes.append, shed=refuse, render=render, wall_clock=lambda: NOON
        )

    @property
    def ended(self) -> dict[str, int]:
        return self.driver.statistics().ended


class MemoryTransport(Transport):
    """Over a stream in memory, which tells that the other end was closed as epoll tells it of a socket.

    theirs: the other end's sending half. A lockstep pair's does not tell.
    """

    def __init__(self, ours: trio.StapledStream[Any, Any], theirs: trio.abc.SendStream | None = None) -> None:
        super().__init__("http")
        self._ours = ours
        self._theirs = theirs
        self._unsent = b""

    def send_now(self, data: bytes) -> bool:
        self._unsent += data
        return not self._unsent

    async def flush(self) -> None:
        unsent, self._unsent = self._unsent, b""
        await self._ours.send_all(unsent)

    async def receive(self) -> bytes:
        return bytes(await self._ours.receive_some(MAX_RECEIVE_BYTES))

    def watch(self, client_left: Callable[[], None]) -> None:
        theirs = self._theirs
        if not isinstance(theirs, trio.testing.MemorySendStream):
            return
        close = theirs.close_hook
        assert close is not None

        def close_and_tell() -> None:
            theirs.close_hook = close
            close()
            client_left()

        theirs.close_hook = close_and_tell

    def has_bytes(self) -> bool:
        return False

    async def send_eof(self) -> None:
        await self._ours.send_eof()

    def close(self) -> None:
        self._ours.send_stream.close()
        self._ours.receive_stream.close()

    def abort(self) -> None:
        self.close()


class MemoryWorld(World):
    nursery: trio.Nursery

    def connect(self, *, lockstep: bool = False) -> Client:
        """A new connection. `lockstep`: nothing is buffered, a write waits until it is read."""
        pair = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
        theirs, ours = pair()
        transport = MemoryTransport(ours, theirs.send_stream)
        self.nursery.start_soon(Connections(self.app, self.driver, {}).hold, transport)
        return Client(theirs)

    async def all_ended(self) -> None:
        await trio.testing.wait_all_tasks_blocked()
        assert self.driver.statistics().open == 0


@asynccontextmanager
async def in_memory(
    app: App, limits: Limits | None = None, refuse: Callable[[int], bytes | None] = never
) -> AsyncIterator[MemoryWorld]:
    """A driver over memory streams. Use it with `autojump_clock`. At the end nothing may have crashed."""
    world = MemoryWorld(app, limits or Limits(), refuse)
    with trio.fail_after(VIRTUAL_DAY_S):
        async with trio.open_nursery() as nursery:
            world.nursery = nursery
            nursery.start_soon(world.driver.run)
            yield world
            nursery.cancel_scope.cancel()
    assert world.driver.beginning == 0


class SocketWorld(World):
    port: int
    sockets: list[trio.socket.SocketType]
    nursery: trio.Nursery
    shutdown: trio.Event

    async def connect(self) -> Client:
        """A new connection, closed with the world at the latest."""
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        self.sockets.append(stream.socket)
        return Client(stream)

    async def settled(self, open_connections: int = 0) -> None:
        """Wait until so many connections are open."""
        await until(lambda: self.driver.statistics().open == open_connections)


def listener(backlog: int = 4096) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    sock.listen(backlog)
    return sock


@asynccontextmanager
async def on_socket(
    app: App,
    limits: Limits | None = None,
    refuse: Callable[[int], bytes | None] = never,
    *,
    certificate: Certificate | None = None,
    grace_s: float = 5,
) -> AsyncIterator[SocketWorld]:
    """A driver on a real socket, run by hypercorn's worker, with TLS if there is a certificate."""
    world = SocketWorld(app, limits or Limits(), refuse)
    world.sockets = []
    sock = listener()
    world.port = sock.getsockname()[1]
    world.shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        world.nursery = nursery
        await nursery.start(
            partial(
                serve,
                app,
                world.driver,
                [sock],
                certificate=certificate,
                shutdown=world.shutdown.wait,
                grace_s=grace_s,
            )
        )
        try:
            yield world
        finally:
            for client in world.sockets:
                client.close()
        nursery.cancel_scope.cancel()
    assert world.driver.beginning == 0
