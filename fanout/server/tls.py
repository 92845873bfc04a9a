"""TLS over another transport. `fanout.loop.tls` has the encryption.

Rule 1: this layer has no lock, no task and no wait of its own. It passes what is to be sent to the transport
        below in its order, whichever call produced it.
Rule 2: a handshake takes processor time. However many clients connect at once, each step of a handshake waits
        for its turn. An event-loop iteration has `STEPS_PER_ITERATION` turns.
Rule 3: a connection that ends in order sends close_notify, and a failed handshake sends an alert. Neither
        waits for the client to read it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from fanout.loop.tls import Tls
from fanout.loop.turns import Turns
from fanout.server.transport import Transport

STEPS_PER_ITERATION: Final = 4  # the expensive one, a signature, takes 0.2 ms (P-256) to 1 ms (RSA 2048)


class TlsTransport(Transport):
    """A client over TLS. Call `handshake` before anything but `watch`, `close` and `abort`."""

    __slots__ = ("_below", "_context", "_has_ended", "_tls", "_turns")

    def __init__(self, below: Transport, context: ssl.SSLContext, turns: Turns) -> None:
        super().__init__("https", below.client, below.server)
        self._below = below
        self._context = context
        self._turns = turns
        self._tls: Tls | None = None  # made at the client's first bytes: it takes 50 KiB
        self._has_ended = False  # no more will be sent

    async def handshake(self) -> str | None:
        """Raises `trio.BrokenResourceError` when it fails; the client has received an alert."""
        while True:
            data = await self._below.receive()
            if not data:
                raise trio.BrokenResourceError("the client left within the handshake")
            await self._turns.next()
            tls = self._tls = self._tls or Tls(partial(self._context.wrap_bio, server_side=True))
            tls.take_in(data)
            try:
                is_done = tls.shake_hands()
            except ssl.SSLError as error:
                self._pass_on(tls)
                raise trio.BrokenResourceError(str(error)) from error
            self._pass_on(tls)
            await self._below.flush()
            if is_done:
                return tls.openssl.selected_alpn_protocol()

    def send_now(self, data: bytes) -> bool:
        tls = self._secure()
        if data:
            try:
                tls.encrypt(data)
            except ssl.SSLError as error:
                raise trio.BrokenResourceError(str(error)) from error
        return self._pass_on(tls)

    async def flush(self) -> None:
        await self._below.flush()

    async def receive(self) -> bytes:
        tls = self._secure()
        if tls.has_records:
            await trio.lowlevel.checkpoint()  # a client that always sends waits like the others
        while not self._has_ended:
            data = self._decrypted(tls)
            if data is not None:
                return data  # noqa: ASYNC910 - if records are left, the next call begins with a checkpoint
            more = await self._below.receive()
            if not more:
                return b""
            tls.take_in(more)
        return await self._below.receive()  # discarded: the reader only counts these bytes

    def watch(self, client_left: Callable[[], None]) -> None:
        self._below.watch(client_left)

    def has_bytes(self) -> bool:
        return (self._tls is not None and self._tls.has_records) or self._below.has_bytes()

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

    def _secure(self) -> Tls:
        if self._tls is None or not self._tls.is_secure:
            raise trio.BrokenResourceError("nothing can be said before the handshake")
        return self._tls

    def _decrypted(self, tls: Tls) -> bytes | None:
        """The bytes that have come; `b""` at the end, `None` when more have to come."""
        try:
            return tls.decrypt()
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(str(error)) from error
        finally:
            if tls.has_to_send:  # an alert, or the answer to a change of keys
                self._pass_on(tls)

    def _say_goodbye(self) -> None:
        """Send close_notify, once, without waiting for the client's."""
        tls = self._tls
        if tls is not None and tls.is_secure and not self._has_ended:
            with suppress(ssl.SSLError, trio.BrokenResourceError):  # usually: wants the client's
                try:
                    tls.openssl.unwrap()
                finally:
                    self._pass_on(tls)
        self._has_ended = True

    def _pass_on(self, tls: Tls) -> bool:
        """Send what there is to send. Returns whether the kernel has all of it."""
        return self._below.send_now(tls.to_send())
