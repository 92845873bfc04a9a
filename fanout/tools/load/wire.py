"""Bytes out and in over one non-blocking socket, plain or TLS, with the time at which they came in.

Why the kernel's time stamp: an answer that waited in the socket buffer because this client was busy came
in time all the same. On Linux the kernel says when the last byte arrived; elsewhere it is when it was read.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import struct
import sys
import time

import trio

from fanout.loop.stream import reset_on_close

_SO_TIMESTAMPNS = 35  # Linux; Python has no name for it
_TIMESPEC = struct.Struct("qq")  # seconds, nanoseconds
_KERNEL_STAMPS = sys.platform == "linux" and sys.maxsize > 2**32
_RECEIVE_BYTES = 65536


class Wire:
    """A plain TCP connection to a resolved address. Errors are OSError, as the system gives them."""

    def __init__(self, family: int, address: tuple[object, ...]) -> None:
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _KERNEL_STAMPS:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._address = address

    async def open(self) -> None:
        """Connect."""
        number = self.socket.connect_ex(self._address)
        if number == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(self.socket)
            number = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        else:
            await trio.lowlevel.checkpoint()
        if number:
            raise OSError(number, os.strerror(number))

    def send(self, data: bytes) -> None:
        """Write all of `data` now. ENOBUFS if it does not fit: a request is far smaller than a buffer."""
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    def receive(self) -> tuple[bytes, float]:
        """What has come, and how many seconds ago. b"" is the end; BlockingIOError means nothing has."""
        if not _KERNEL_STAMPS:
            return self.socket.recv(_RECEIVE_BYTES), 0.0
        data, ancillary, _, _ = self.socket.recvmsg(_RECEIVE_BYTES, 64)
        for _, _, stamp in ancillary:
            seconds, nanoseconds = _TIMESPEC.unpack(stamp)
            return data, max(time.time_ns() - seconds * 1_000_000_000 - nanoseconds, 0) / 1e9
        return data, 0.0

    def peer_refused_bytes(self) -> bool:
        """After the end was read: whether the peer had closed before our last bytes came (it reset them)."""
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def close(self, *, reset: bool = False) -> None:
        """Close now, waking the task that waits on the socket. Idempotent."""
        if self.socket.fileno() < 0:
            return
        if reset:
            reset_on_close(self.socket)
        trio.lowlevel.notify_closing(self.socket)
        self.socket.close()


class TlsWire(Wire):
    """The same over TLS. A bad certificate or a broken record is ssl.SSLError, which is an OSError."""

    def __init__(self, family: int, address: tuple[object, ...], context: ssl.SSLContext, host: str) -> None:
        super().__init__(family, address)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def open(self) -> None:
        """Connect and shake hands."""
        await super().open()
        while not self._shook_hands():
            await trio.lowlevel.wait_readable(self.socket)
            self._take()

    def send(self, data: bytes) -> None:
        """Encrypt and write all of `data` now."""
        self._tls.write(data)
        super().send(self._outgoing.read())

    def receive(self) -> tuple[bytes, float]:
        """As for a plain wire, decrypted. Records without data (session tickets) are BlockingIOError."""
        age_s = self._take()
        chunks = []
        try:
            while chunk := self._tls.read(_RECEIVE_BYTES):
                chunks.append(chunk)
        except ssl.SSLWantReadError:
            if not chunks:
                raise BlockingIOError from None
        except ssl.SSLEOFError:  # closed without TLS's goodbye: for HTTP with lengths, an end like any other
            pass
        return b"".join(chunks), age_s

    def _shook_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            super().send(self._outgoing.read())
        return True

    def _take(self) -> float:
        data, age_s = super().receive()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return age_s
