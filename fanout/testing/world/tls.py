"""TLS between a client and the server of a simulation run, over the same memory.

Without certificates, as both ends are known: the keys are agreed on anonymously (ECDH), which is TLS 1.2. The
bytes differ from run to run, and their number does not, so a run is repeated to the byte.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from functools import cache
from typing import Final

import trio

from fanout.loop.turns import Turns
from fanout.server.tls import TlsTransport
from fanout.testing.world.adapters import ClientTransport, Taken, Written
from fanout.testing.world.facts import ConnectionFacts
from fanout.testing.world.network import End

_CIPHERS: Final = "AECDH-AES128-SHA:@SECLEVEL=0"
_RECORD_BYTES: Final = 16384


@cache
def _context(protocol: int, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    if protocol == ssl.PROTOCOL_TLS_CLIENT:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(list(alpn))
    return context


class SecureTransport(TlsTransport):
    """The server's TLS over the memory of a connection. It reports what it reads and writes."""

    __slots__ = ("_on_read", "_on_written")

    def __init__(self, end: End, client: int, on_read: Taken, on_written: Written, turns: Turns) -> None:
        below = ClientTransport(end, client, lambda data: None, lambda data, waits: None)
        super().__init__(below, _context(ssl.PROTOCOL_TLS_SERVER, ("h2", "http/1.1")), turns)
        self._on_read = on_read
        self._on_written = on_written

    def send_now(self, data: bytes) -> bool:
        is_sent = super().send_now(data)
        if data:
            self._on_written(data, not is_sent)
        return is_sent

    async def flush(self) -> None:
        await super().flush()
        self._on_written(b"", False)

    async def receive(self) -> bytes:
        data = await super().receive()
        self._on_read(data)
        return data


async def secured(end: End, facts: ConnectionFacts) -> SecureWire:
    """The client's end, once the keys are agreed on. Raises `OSError` if they are not."""
    wire = SecureWire(end, facts)
    await wire.shake_hands("http/1.1" if facts.client.http2 is None else "h2")
    return wire


class SecureWire:
    """A client's end of a connection with TLS over it. It is used as an `End`, which has room for all."""

    def __init__(self, end: End, facts: ConnectionFacts) -> None:
        self._end = end
        self._facts = facts
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._plain = b""
        self._has_ended = False
        self._error: OSError | None = None
        self._openssl: ssl.SSLObject

    async def shake_hands(self, protocol: str) -> None:
        context = _context(ssl.PROTOCOL_TLS_CLIENT, (protocol,))
        self._openssl = context.wrap_bio(self._incoming, self._outgoing, server_side=False)
        self._is_agreed()  # not yet: the client speaks first
        while True:
            await self._end.readable()
            data = self._end.read(_RECORD_BYTES)
            if not data:
                raise ConnectionResetError("it ended within the handshake")
            self._incoming.write(data)
            if self._is_agreed():
                return

    def _is_agreed(self) -> bool:
        try:
            self._openssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._pass_on()
        return True

    def write(self, data: bytes | memoryview) -> int:
        sent = self._openssl.write(data[:_RECORD_BYTES]) if data else 0
        self._pass_on()
        return sent

    async def writable(self) -> None:
        await trio.lowlevel.checkpoint()

    async def readable(self) -> None:
        while not self._has_news():
            await self._end.readable()
            self._take_in()
        await trio.lowlevel.checkpoint()

    def read(self, max_bytes: int) -> bytes | None:
        if not self._has_news():
            self._take_in()
        if self._plain:
            data, self._plain = self._plain[:max_bytes], self._plain[max_bytes:]
            return data
        if self._error is not None:
            raise self._error
        return b"" if self._has_ended else None

    def _has_news(self) -> bool:
        return bool(self._plain) or self._has_ended or self._error is not None

    def _take_in(self) -> None:
        """Take what has come."""
        try:
            data = self._end.read(_RECORD_BYTES)
            if data:
                self._incoming.write(data)
            elif data is not None:
                self._incoming.write_eof()
        except OSError as error:
            self._error = error
        else:
            self._decrypt()

    def _decrypt(self) -> None:
        if self._has_ended or self._error is not None:
            return
        try:
            while piece := self._openssl.read(_RECORD_BYTES):
                self._plain += piece
            self._has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._has_ended = True
        except ssl.SSLEOFError:
            if self._facts.client.window_bytes >= _RECORD_BYTES:  # else there may be no room for it
                self._facts.bad.append("its TLS ended without close_notify")
            self._has_ended = True
        except ssl.SSLError as error:
            self._error = error

    def send_end(self) -> None:
        self._say_goodbye()
        self._end.send_end()

    def close(self) -> None:
        self._say_goodbye()
        self._end.close()

    def reset(self) -> None:
        self._end.reset()

    def wake(self) -> None:
        self._end.wake()

    def _say_goodbye(self) -> None:
        self._decrypt()  # `unwrap` would fail at an answer that came with the end of the handshake
        with suppress(OSError):
            try:
                self._openssl.unwrap()
            finally:
                self._pass_on()

    def _pass_on(self) -> None:
        data = self._outgoing.read()
        if data:
            self._end.write(data)
