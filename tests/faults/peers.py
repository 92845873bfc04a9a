"""Clients and upstreams that never wait: plain sockets on loopback, where what one end does is at the other
at once.

A peer can be struck at any moment, also in the middle of a system call of the server's: it resets its
connection, closes it, or does nothing any more. Afterwards its methods do nothing.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends a RST
_SMALL: Final = 8 * 1024  # of receive buffer: an answer that is not read soon blocks its writer


class Peer:
    """One end of a connection. received: what came, decrypted. closed_by_server: FIN or RST has come."""

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext | None, *, is_server: bool) -> None:
        self.sock = sock
        sock.setblocking(False)
        self.received = bytearray()
        self.closed_by_server = False
        self.is_reading = True
        self.is_silent = False  # it neither reads nor sends any more
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._unsent = b""  # until the handshake is done
        self.is_secured = tls is None
        if tls is not None:
            name = None if is_server else "127.0.0.1"
            self._tls = tls.wrap_bio(self._incoming, self._outgoing, is_server, name)

    @property
    def is_open(self) -> bool:
        return self.sock.fileno() >= 0

    def turn(self) -> bool:
        """Read what has come, go on with the handshake. Whether anything has happened."""
        if self.is_silent or not self.is_reading or not self.is_open or self.closed_by_server:
            return False
        data = self._read()
        happened = bool(data) or self.closed_by_server
        if self._tls is None:
            self.received += data
        else:
            happened |= self._decrypt(self._tls, data)
        return happened

    def send(self, data: bytes) -> None:
        """All of it, which is little; nothing when struck."""
        if self._tls is None:
            self.send_raw(data)
        elif self.is_secured:
            try:
                self._tls.write(data)
            except ssl.SSLError:  # the end has come
                self.closed_by_server = True
            self.send_raw(self._outgoing.read())
        else:
            self._unsent += data

    def send_raw(self, data: bytes) -> None:
        """Past TLS."""
        if data and not self.is_silent and self.is_open:
            try:
                self.sock.send(data)
            except (BrokenPipeError, ConnectionResetError):
                self.closed_by_server = True
            except BlockingIOError:
                pass  # what the server does not read is lost

    def reset(self) -> None:
        if self.is_open:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.sock.close()

    def close(self) -> None:
        """With a FIN, also where something was not read, which would make it a RST."""
        if self.is_open:
            self._read()
            self.sock.close()

    def end(self) -> None:
        """Close, over TLS with a close_notify first."""
        if self._tls is not None:
            with suppress(ssl.SSLError):  # it wants to read the server's
                self._tls.unwrap()
            self.send_raw(self._outgoing.read())
        self.close()

    def fall_silent(self) -> None:
        self.is_silent = True

    def _read(self) -> bytes:
        data = b""
        try:
            while True:
                more = self.sock.recv(65536)
                if not more:
                    self.closed_by_server = True
                    return data
                data += more
        except BlockingIOError:
            return data
        except OSError:
            self.closed_by_server = True
            return data

    def _decrypt(self, tls: ssl.SSLObject, data: bytes) -> bool:
        if data:
            self._incoming.write(data)
        before = len(self.received), self.is_secured
        try:
            if not self.is_secured:
                tls.do_handshake()
                self.is_secured = True
                if self._unsent:
                    tls.write(self._unsent)
            while piece := tls.read(65536):
                self.received += piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.closed_by_server = True
        flight = self._outgoing.read()
        self.send_raw(flight)
        return bool(flight) or before != (len(self.received), self.is_secured)


class Client(Peer):
    """A client of the server at `port`."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(("127.0.0.1", port))
        super().__init__(sock, tls, is_server=False)

    @property
    def statuses(self) -> list[int]:
        """Of the answers that have come, whole, over HTTP/1.1. A part of one counts as -1, at the end."""
        statuses: list[int] = []
        if self._tls is not None and self._tls.selected_alpn_protocol() == "h2":
            return statuses
        data = bytes(self.received)
        while data:
            head, blank, rest = data.partition(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1]) if head.count(b" ") > 1 else -1
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            if not blank or len(rest) < length:
                return [*statuses, -1]
            if status != 100:
                statuses.append(status)
            data = rest[length:]
        return statuses


class UpstreamPeer(Peer):
    """The upstream's end of one connection. It answers a request with `pieces`, one each turn."""

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        super().__init__(sock, tls, is_server=True)
        self._pieces: list[bytes] = []

    def serve(self, answer: Iterable[bytes] | None) -> bool:
        """Read, and send one piece of `answer` if a request has come. Whether anything has happened."""
        happened = self.turn()
        if self.closed_by_server:
            self.close()
        if not self._pieces and answer is not None and b"\r\n\r\n" in self.received:
            self.received.clear()
            self._pieces = list(answer)
        if self._pieces and self.is_open and not self.is_silent:
            piece = self._pieces.pop(0)
            if piece:
                self.send(piece)
            else:
                self.end()
            happened = True
        return happened


class Upstream:
    """A listening upstream. answer: the pieces in which it answers each request; an empty one is a FIN."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._listener.setblocking(False)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited
        self.port: int = self._listener.getsockname()[1]
        self.peers: list[UpstreamPeer] = []
        self.is_answering = True
        self.answer: list[bytes] = [OK]

    def turn(self) -> bool:
        """Accept, read, answer. Whether anything has happened."""
        happened = self.accept()
        for peer in self.peers:
            happened |= peer.serve(self.answer if self.is_answering else None)
        self.peers = [peer for peer in self.peers if peer.is_open]
        return happened

    def accept(self) -> bool:
        known = len(self.peers)
        try:
            while True:
                self.peers.append(UpstreamPeer(self._listener.accept()[0], self._tls))
        except BlockingIOError:
            return len(self.peers) > known

    def recover(self) -> None:
        """Be as it was at first, without those that were struck."""
        self.is_answering, self.answer = True, [OK]
        for peer in self.peers:
            if peer.is_silent:
                peer.close()

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self._listener.close()


def says(body: bytes, status: bytes = b"200 OK", framing: bytes = b"") -> bytes:
    framing = framing or b"Content-Length: %d" % len(body)
    return b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, framing, body)


OK: Final = says(b'{"time": 1}')
