"""What the pool needs from a connection to an upstream.

`fanout.loop.stream.SocketStream` is one over a socket, `fanout.upstream.tls.TlsWire` one over another wire.
The simulation injects wires of its own, in virtual time.

Rule 1: closing is synchronous and never waits, fails or runs twice. A closed wire refers to no owner.
Rule 2: one task at a time uses a wire, and only that task closes it, so no task waits in a closed wire.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

# getaddrinfo's family and socket address: enough to connect.
Address = tuple[socket.AddressFamily, tuple[Any, ...]]


class Wire(Protocol):
    """A connected byte stream. Every failure of the network is an `OSError`."""

    @property
    def has_ended(self) -> bool:
        """Whether epoll has reported the upstream's end (FIN or RST), perhaps behind unread bytes."""

    @property
    def has_part(self) -> bool:
        """Whether bytes have come that `receive_nowait` cannot return until more come: a part of a record."""

    def on_news(self, tell: Callable[[], bool]) -> None:
        """Call `tell` when bytes or the end come while no task waits for them. It lasts until `close`.

        `tell` returns whether it woke a task.
        """

    async def send_all(self, data: bytes) -> None:
        """Send all of it. No checkpoint when the bytes fit; after `Cancelled` a part may be sent."""

    def send_now(self, data: bytes) -> bool:
        """Send without waiting. Returns whether all of it was sent; `close` drops what was not."""

    async def receive(self) -> bytes:
        """Wait for at least one byte; `b""` when the upstream has closed. `Cancelled` loses nothing."""

    def receive_nowait(self) -> bytes | None:
        """The bytes that have arrived; `None` when none have and the upstream has not closed."""

    def close(self) -> None:
        """Close in order: what was sent is still delivered."""

    def abort(self) -> None:
        """Close at once with a reset, so that the upstream drops the exchange."""
