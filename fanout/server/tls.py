"""TLS over another transport: OpenSSL between two memory buffers.

Rule 1: this layer has no lock, no task and no wait of its own. It passes OpenSSL's output to the transport
        below in its order, whichever call produced it.
Rule 2: a handshake takes processor time. However many clients connect at once, each step of a handshake waits
        for its turn. An event-loop iteration has `STEPS_PER_ITERATION` turns.
Rule 3: reading takes processor time, too. A call of `receive` takes a bounded number of records.
Rule 4: a connection that ends in order sends close_notify, and a failed handshake sends an alert. Neither
        waits for the client to read it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from fanout.loop.tls_records import Records, TooManyRecords
from fanout.loop.turns import Turns
from fanout.server.transport import MAX_RECEIVE_BYTES, Transport

STEPS_PER_ITERATION: Final = 4  # the expensive one, a signature, takes 0.2 ms (P-256) to 1 ms (RSA 2048)
_RECORDS_AT_ONCE: Final = 64  # of one byte each they take 0.2 ms


class TlsTransport(Transport):
    """A client over TLS. Call `handshake` before anything but `watch`, `close` and `abort`."""

    __slots__ = (
        "_below",
        "_context",
        "_has_begun",
        "_has_ended",
        "_incoming",
        "_is_secure",
        "_outgoing",
        "_records",
        "_tls",
        "_turns",
    )

    def __init__(self, below: Transport, context: ssl.SSLContext, turns: Turns) -> None:
        super().__init__("https", below.client, below.server)
        self._below = below
        self._context = context
        self._turns = turns
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._records = Records()  # used once the handshake has succeeded
        self._tls: ssl.SSLObject  # made at the client's first bytes: it takes 50 KiB
        self._has_begun = False  # `_tls` exists
        self._is_secure = False  # the handshake has succeeded
        self._has_ended = False  # no more will be sent

    async def handshake(self) -> str | None:
        """Raises `trio.BrokenResourceError` when it fails; the client has received an alert."""
        while True:
            data = await self._below.receive()
            if not data:
                raise trio.BrokenResourceError("the client left within the handshake")
            self._incoming.write(data)
            await self._turns.next()
            try:
                self._step()
            except ssl.SSLError as error:
                self._send_said()
                raise trio.BrokenResourceError(str(error)) from error
            self._send_said()
            await self._below.flush()
            if self._is_secure:
                self._records.add(self._incoming.read())  # what came behind the handshake
                return self._tls.selected_alpn_protocol()

    def _step(self) -> None:
        if not self._has_begun:
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
            self._has_begun = True
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
            self._is_secure = True

    def send_now(self, data: bytes) -> bool:
        if not self._is_secure:
            raise trio.BrokenResourceError("nothing can be said before the handshake")
        if data:
            try:
                self._tls.write(data)
            except ssl.SSLError as error:
                raise trio.BrokenResourceError(str(error)) from error
        return self._send_said()

    async def flush(self) -> None:
        await self._below.flush()

    async def receive(self) -> bytes:
        if self._records:
            await trio.lowlevel.checkpoint()  # a client that always sends waits like the others
        while not self._has_ended:
            data = self._decrypted()
            if data is not None:
                return data  # noqa: ASYNC910 - if records are left, the next call begins with a checkpoint
            more = await self._below.receive()
            if not more:
                return b""
            self._records.add(more)
        return await self._below.receive()  # discarded: the reader only counts these bytes

    def watch(self, client_left: Callable[[], None]) -> None:
        self._below.watch(client_left)

    def has_bytes(self) -> bool:
        return bool(self._records) or self._below.has_bytes()

    async def send_eof(self) -> None:  # noqa: ASYNC910 - as below
        self._say_goodbye()
        await self._below.send_eof()

    def close(self) -> None:
        try:
            self._say_goodbye()
        finally:  # whatever that raises when there is no memory
            self._below.close()

    def abort(self) -> None:
        self._has_ended = True
        self._below.abort()

    def _decrypted(self) -> bytes | None:
        """The bytes that have come, decrypted; `b""` at the end, `None` when more have to come."""
        pieces: list[bytes] = []
        try:
            for _ in range(_RECORDS_AT_ONCE):
                record = self._records.take()
                self._incoming.write(record)
                try:
                    piece = self._tls.read(MAX_RECEIVE_BYTES)
                except ssl.SSLWantReadError:
                    if not record:
                        return b"".join(pieces) or None
                    self._records.brought_nothing(is_answered=self._outgoing.pending > 0)
                    self._send_said()  # the answer to a change of keys
                else:
                    if not piece:
                        break
                    pieces.append(piece)
                    self._records.brought_data()
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            if not pieces or isinstance(error, TooManyRecords):  # else OpenSSL raises it again, behind them
                self._send_said()
                raise trio.BrokenResourceError(str(error)) from error
        return b"".join(pieces)

    def _say_goodbye(self) -> None:
        """Send close_notify, once, without waiting for the client's."""
        if self._is_secure and not self._has_ended:
            with suppress(ssl.SSLError, trio.BrokenResourceError):  # usually: wants the client's
                try:
                    self._tls.unwrap()
                finally:
                    self._send_said()
        self._has_ended = True

    def _send_said(self) -> bool:
        """Pass OpenSSL's output on. Returns whether the kernel has all of it."""
        return self._below.send_now(self._outgoing.read())
