"""A client of HTTP/2, well-behaved or not: over TLS, or over memory streams in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import h2.connection
import h2.events
import trio
import trio.testing
import trustme
from h2.config import H2Configuration

from fanout.server.asgi import App
from fanout.server.connection import Connection
from fanout.server.driver import Driver
from fanout.server.http2 import Http2
from fanout.server.limits import Limits
from fanout.server.transport import Transport
from tests.server.serving import MemoryTransport, MemoryWorld, SocketWorld, in_memory
from tests.server.tls_clients import over_tls

Header = tuple[bytes, bytes]
E = TypeVar("E", bound=h2.events.Event)


class H2Client:
    """A client of one HTTP/2 connection that sends what it is told, valid or not."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._events: list[h2.events.Event] = []
        self.connection = h2.connection.H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.connection.initiate_connection()

    async def send(self, headers: list[Header], *, stream_id: int = 1, end: bool = True) -> None:
        self.connection.send_headers(stream_id, headers, end_stream=end)
        await self.flush()

    async def flush(self) -> None:
        await self.stream.send_all(self.connection.data_to_send())

    async def next(self, kind: type[E]) -> E:
        """The next event of that kind. What comes before it is lost."""
        while True:
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, kind):
                    return event
            data = await self.stream.receive_some(65536)
            assert data, f"closed without a {kind.__name__}"
            self._events += self.connection.receive_data(bytes(data))

    async def status(self) -> bytes:
        return dict((await self.next(h2.events.ResponseReceived)).headers)[b":status"]

    async def ended(self) -> int:
        """The stream of the next answer that is complete."""
        return (await self.next(h2.events.StreamEnded)).stream_id

    async def reset(self) -> int:
        """The error that the next reset stream had."""
        return (await self.next(h2.events.StreamReset)).error_code or 0

    async def goodbye(self) -> int:
        """The error that the connection had."""
        return (await self.next(h2.events.ConnectionTerminated)).error_code or 0

    async def end(self) -> None:
        """Read on until the server closes, however it does."""
        with suppress(trio.BrokenResourceError):
            while await self.stream.receive_some(65536):
                pass


def request(path: bytes = b"/", method: bytes = b"GET") -> list[Header]:
    return [(b":method", method), (b":authority", b"a"), (b":scheme", b"https"), (b":path", path)]


async def h2_client(world: SocketWorld, authority: trustme.CA) -> H2Client:
    return H2Client(await over_tls(world, authority, "h2"))


async def serve_http2(app: App, driver: Driver, transport: Transport) -> None:
    """Serve HTTP/2 over any transport to its end, without TLS."""

    async def serve(connection: Connection) -> None:
        connection.is_http2 = True
        await Http2(driver, connection, app, {}).run()

    await driver.hold(transport, serve)


async def unread(world: MemoryWorld) -> H2Client:
    """A client that has agreed on settings. The server's writes wait until it reads, and its own do not."""
    answers, asked = trio.testing.lockstep_stream_one_way_pair(), trio.testing.memory_stream_one_way_pair()
    ours = trio.StapledStream(answers[0], asked[1])
    world.nursery.start_soon(serve_http2, world.app, world.driver, MemoryTransport(ours))
    client = H2Client(trio.StapledStream(asked[0], answers[1]))
    await client.flush()
    await client.next(h2.events.SettingsAcknowledged)
    return client


class Http2World:
    """One driver over memory streams; use it with `autojump_clock`."""

    def __init__(self, world: MemoryWorld) -> None:
        self.driver = world.driver
        self.nursery = world.nursery
        self.crashes = world.crashes
        self._app = world.app

    def connect(self) -> H2Client:
        theirs, ours = trio.testing.memory_stream_pair()
        self.nursery.start_soon(
            serve_http2, self._app, self.driver, MemoryTransport(ours, theirs.send_stream)
        )
        return H2Client(theirs)


@asynccontextmanager
async def http2_in_memory(app: App, limits: Limits | None = None) -> AsyncIterator[Http2World]:
    async with in_memory(app, limits) as world:
        yield Http2World(world)
