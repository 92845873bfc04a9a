"""An upstream on loopback that acts only when its client is idle, so that every run takes the same steps.

It has no thread and no task. The client's event loop calls `step` when it has nothing else to do. Each call
does one thing, such as accepting a connection or sending the next piece of an answer.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Final, Self

PIECES: Final = (  # each is one wait of the client
    b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.",
    b"1 200 OK\r\nTransfer-",
    b"Encoding: chunked\r\n\r\n",
    b"2\r\nab",
    b"\r\n1\r\nc\r\n0\r\n",
    b"\r\n",
)
BODY: Final = b"abc"
_CHUNK: Final = 65_536


class SteppedUpstream:
    """`with SteppedUpstream(tls) as upstream`: answers every GET with `BODY`, in `PIECES`.

    tls: context of a server, or `None` for plain connections. `open`: connections that no client has closed.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._connections: list[_Connection] = []
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/"

    @property
    def open(self) -> int:
        return len(self._connections)

    def step(self) -> bool:
        """Do one thing. Returns whether there was one to do."""
        with suppress(BlockingIOError):
            self._connections.append(_Connection(self._listener.accept()[0], self._tls))
            return True
        for connection in self._connections:
            if connection.step():
                if connection.is_over:
                    connection.close()
                    self._connections.remove(connection)
                return True
        return False

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Connection:
    def __init__(self, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = accepted
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = None if tls is None else tls.wrap_bio(self._in, self._out, server_side=True)
        self._received = b""
        self._to_send: list[bytes] = []
        self.is_over = False

    def step(self) -> bool:
        """Read what has come, or else send the next piece."""
        with suppress(BlockingIOError):
            self._take()
            return True
        if self._to_send:
            self._send(self._to_send.pop(0))
            return True
        return False

    def close(self) -> None:
        self._socket.close()

    def _take(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except ConnectionError:
            data = b""
        if not data:
            self.is_over = True
            return
        self._received += self._decrypted(data)
        if b"\r\n\r\n" in self._received:
            self._received = self._received.partition(b"\r\n\r\n")[2]
            self._to_send += PIECES

    def _decrypted(self, data: bytes) -> bytes:
        if self._tls is None:
            return data
        self._in.write(data)
        decrypted = b""
        try:
            self._tls.do_handshake()
            while more := self._tls.read(_CHUNK):
                decrypted += more
            self.is_over = True  # close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:  # it is closed in the middle of a handshake
            self.is_over = True
        self._write(self._out.read())
        return decrypted

    def _send(self, data: bytes) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._out.read()
        self._write(data)

    def _write(self, data: bytes) -> None:
        with suppress(ConnectionError):
            self._socket.sendall(data)
