"""A caller of HTTP/2 over TLS, well-behaved or not."""

from __future__ import annotations

from typing import TypeVar

import h2.connection
import h2.events
import trio
import trustme
from h2.config import H2Configuration

from tests.web.driver.serving import SocketWorld
from tests.web.driver.tls import over_tls

Header = tuple[bytes, bytes]
E = TypeVar("E", bound=h2.events.Event)


class H2Caller:
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


def request(path: bytes = b"/", method: bytes = b"GET") -> list[Header]:
    return [(b":method", method), (b":authority", b"a"), (b":scheme", b"https"), (b":path", path)]


async def h2_caller(world: SocketWorld, authority: trustme.CA) -> H2Caller:
    return H2Caller(await over_tls(world, authority, "h2"))
