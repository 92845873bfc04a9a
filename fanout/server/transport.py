"""What the driver needs from a connection to a client, and its implementation over a TCP socket.

`tls` implements it over another transport. The test kit has transports over memory, in virtual time.

Rule 1: the end of a connection is `b""` from `receive` after a FIN, and `trio.BrokenResourceError` from any
        method after an RST or any other error of the network.
Rule 2: `close` and `abort` are synchronous, may be called twice, and raise nothing.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable

from fanout.loop.stream import SocketStream

Address = tuple[str, int] | None


class Transport(ABC):
    """A connection to a client. One task receives, and one task sends.

    A method without a docstring has that of the same method of `fanout.loop.stream.SocketStream`.
    scheme: `http` or `https`. client, server: the two addresses, as far as they are known.
    """

    __slots__ = ("client", "scheme", "server")

    def __init__(self, scheme: str, client: Address = None, server: Address = None) -> None:
        self.scheme = scheme
        self.client = client
        self.server = server

    async def handshake(self) -> str | None:  # noqa: ASYNC910 - the next step waits for a request
        """Agree on keys, over TLS. Returns the protocol that was agreed on with them (ALPN), if any."""
        return None  # noqa: ASYNC910 - as above

    @abstractmethod
    def send_now(self, data: bytes) -> bool: ...

    @abstractmethod
    async def flush(self) -> None: ...

    @abstractmethod
    async def receive(self) -> bytes:
        """At least one byte, or `b""` at the end. Nothing is lost if it is cancelled."""

    async def receive_unless(self, is_dealt_with: Callable[[bytes], bool]) -> bytes:
        """As `receive`, but skip the bytes that `is_dealt_with` accepts.

        is_dealt_with: called with the bytes that come, never with `b""`. Its exceptions are raised here.
        """
        while True:
            data = await self.receive()
            if not data or not is_dealt_with(data):
                return data

    @abstractmethod
    def watch(self, client_left: Callable[[], None]) -> None:
        """Begin to watch for events. Called once, before the first `receive`.

        client_left: called once, when the client disconnects (FIN or RST), also behind unread bytes.
        """

    @abstractmethod
    def has_bytes(self) -> bool:
        """Whether `receive` would return at once. `False` if that is unknown."""

    @abstractmethod
    async def send_eof(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def abort(self) -> None: ...


class SocketTransport(SocketStream, Transport):
    """A client at the other end of a TCP socket, which must be non-blocking. The transport owns it."""

    def __init__(self, sock: socket.socket) -> None:
        Transport.__init__(self, "http", _address(sock.getpeername), _address(sock.getsockname))
        SocketStream.__init__(self, sock)


def _address(ask: Callable[[], object]) -> Address:
    """Host and port of an IP address; `None` for any other kind, and when the client is gone."""
    try:
        match ask():
            case (str(host), int(port), *_):
                return host, port
    except OSError:
        pass
    return None
