"""A `Wire` that speaks TLS over another one.

Rule 1: closing closes the wire below at once. It neither sends nor awaits a close_notify: HTTP has its own
        framing.
Rule 2: an end of the wire without a close_notify is an error, so nobody can cut a body that ends with its
        connection short unnoticed.
Rule 3: closing frees OpenSSL's memory at once, about 80 KiB. A `Cancelled` that travels or is kept holds the
        frames it has passed, and with them this wire.
Rule 4: OpenSSL gets one record at a time, and too many in a row that bring no data are an error. An upstream
        that only changes keys could otherwise hold the event loop.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import trio

from fanout.loop.tls_records import Records
from fanout.upstream.origin import Origin
from fanout.upstream.tls import TlsSessions
from fanout.upstream.wire import Wire

_CIPHERTEXT_BYTES: Final = 16 * 1024 + 512  # a whole record
_FREED: Final[Any] = None


class TlsWire:
    """OpenSSL between two memory buffers, without a lock, a task or a wait of its own.

    It can be used after `handshake()`. It owns the wire below.
    """

    __slots__ = (
        "_incoming",
        "_origin",
        "_outgoing",
        "_records",
        "_sessions",
        "_tls",
        "_verified_at",
        "_wire",
    )

    def __init__(self, wire: Wire, sessions: TlsSessions, origin: Origin) -> None:
        """Raises `ValueError` for a host that no certificate can name; the wire below is unchanged."""
        self._wire = wire
        self._sessions: TlsSessions | None = sessions
        self._origin = origin
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._records = Records()  # after the handshake
        self._tls = sessions.context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=origin.host, session=sessions.find(origin)
        )
        self._verified_at = 0.0

    @property
    def has_ended(self) -> bool:
        return self._wire.has_ended

    def on_news(self, tell: Callable[[], bool]) -> None:
        self._wire.on_news(tell)

    async def handshake(self) -> None:
        """Agree on keys and verify the certificate. Raises `OSError`, and `ssl.SSLError` as one."""
        while True:
            with suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                break
            # Not in an `except`: a `Cancelled` would keep that error, and by its frames OpenSSL's memory.
            await self._flush()
            data = await self._wire.receive_some(_CIPHERTEXT_BYTES)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
        await self._flush()
        self._records.add(self._incoming.read())  # what came behind the handshake
        self._verified_at = trio.current_time()

    async def send_all(self, data: bytes) -> None:
        self._tls.write(data)
        await self._flush()

    async def receive_some(self, max_bytes: int) -> bytes:
        while True:
            data = self._read(max_bytes)
            if data is not None:
                self._keep_session()
                return data  # noqa: ASYNC910 - the rest of a record, for which it has waited
            await self._flush()
            self._take_in(await self._wire.receive_some(_CIPHERTEXT_BYTES))

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        # A session ticket or a new key makes the wire below readable, but is no data of the upstream's.
        while True:
            data = self._read(max_bytes)
            if data is not None:
                return data
            arrived = self._wire.receive_nowait(_CIPHERTEXT_BYTES)
            if arrived is None:
                return None
            self._take_in(arrived)

    def close(self) -> None:
        self._wire.close()
        self._free()

    def abort(self) -> None:
        self._wire.abort()
        self._free()

    def _free(self) -> None:
        self._tls = self._incoming = self._outgoing = self._sessions = _FREED

    def _read(self, max_bytes: int) -> bytes | None:
        """What has come, of one record; `None` when more has to come."""
        record = b""
        while True:
            try:
                data = self._tls.read(max_bytes)
            except ssl.SSLWantReadError:
                if record:
                    self._records.brought_nothing(is_answered=self._outgoing.pending > 0)
                record = self._records.take()
                if not record:
                    return None
                self._incoming.write(record)
            else:
                self._records.brought_data()
                return data

    def _take_in(self, data: bytes) -> None:
        if data:
            self._records.add(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:  # noqa: ASYNC910 - as `Wire.send_all`
        if self._outgoing.pending:
            await self._wire.send_all(self._outgoing.read())

    def _keep_session(self) -> None:
        """Once per connection, after its first bytes."""
        if self._sessions is not None:
            self._sessions.keep(self._origin, self._tls, self._verified_at)
            self._sessions = None
