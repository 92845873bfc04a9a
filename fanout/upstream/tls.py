"""TLS to an upstream: whom we trust, how long one verification counts, and a `Wire` over another one.

Verification of chain and host name is always on; there is no switch.

Rule 1: closing closes the wire below at once. It sends a close_notify (RFC 9112 §9.8) and does not await the
        upstream's: HTTP has its own framing. A reset sends none.
Rule 2: an end of the wire without a close_notify is an error, so nobody can cut a body that ends with its
        connection short unnoticed.
Rule 3: closing frees OpenSSL's memory at once, about 80 KiB. A `Cancelled` that travels or is kept holds the
        frames it has passed, and with them this wire.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import certifi
import trio
import truststore

from fanout.loop.tls import Tls
from fanout.upstream.messages import Origin
from fanout.upstream.wire import Wire

# A resumed connection is not verified again: so old may the verification be that it rests on.
VERIFICATION_S: Final = 300.0


def client_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Trust the system's store, or only the authorities in `ca_file` (PEM). ALPN http/1.1, TLS 1.2 or newer.

    Raises `OSError` when the file cannot be read or holds no certificate. Reading the store takes
    about 20 ms: one context a process.

    On Linux the store is OpenSSL's own and is read here, once. truststore trusts the same files there,
    but reads them again for every connection, which blocks the loop for 17 ms (144 certificates).
    """
    context: ssl.SSLContext
    if ca_file is not None:
        context = ssl.create_default_context(cafile=ca_file)
    elif sys.platform in ("darwin", "win32"):
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        context = ssl.create_default_context(cafile=None if _has_system_store() else certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # TLS 1.2 could not send a request during one
    context.set_alpn_protocols(["http/1.1"])
    return context


class TlsSessions:
    """One session an origin, to resume: a quarter of a handshake's CPU, see docs/upstream.md."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self._sessions: dict[Origin, tuple[ssl.SSLSession, float]] = {}

    def find(self, origin: Origin) -> ssl.SSLSession | None:
        """A session whose certificate was verified a short while ago."""
        session, verified_at = self._sessions.get(origin, (None, 0.0))
        if session is None or trio.current_time() - verified_at >= VERIFICATION_S:
            self._sessions.pop(origin, None)
            return None
        return session

    def keep(self, origin: Origin, tls: ssl.SSLObject, verified_at: float) -> None:
        """Keep the session of a connection that was verified in full, unless there is one.

        To be called after the first answer: a TLS 1.3 server sends its tickets with it.
        """
        if not tls.session_reused and self.find(origin) is None:
            session = tls.session
            if session is not None and session.has_ticket:
                self._sessions[origin] = (session, verified_at)


def _has_system_store() -> bool:
    """A slim container has the directory, but no certificates in it: httpx's bundle is used then."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or (paths.capath and os.listdir(paths.capath)))


class TlsWire:
    """TLS over another wire, which it owns. It has no lock, task or wait of its own. First `handshake()`."""

    __slots__ = ("_origin", "_sessions", "_tls", "_verified_at", "_wire")

    def __init__(self, wire: Wire, sessions: TlsSessions, origin: Origin) -> None:
        """Raises `OSError` for a host that no certificate can name; the wire below is unchanged."""
        self._wire = wire
        self._sessions: TlsSessions | None = sessions
        self._origin = origin
        session = sessions.find(origin)
        try:
            self._tls = Tls(partial(sessions.context.wrap_bio, server_hostname=origin.host, session=session))
        except ValueError as error:
            raise OSError(str(error)) from error
        self._verified_at = 0.0

    @property
    def has_ended(self) -> bool:
        return self._wire.has_ended

    @property
    def has_part(self) -> bool:
        return self._tls.has_records

    def on_news(self, tell: Callable[[], bool]) -> None:
        self._wire.on_news(tell)

    async def handshake(self) -> None:
        """Agree on keys and verify the certificate. Raises `OSError`, and `ssl.SSLError` as one."""
        while not self._tls.shake_hands():
            await self._flush()
            self._tls.take_in(await self._wire.receive())
        await self._flush()
        self._verified_at = trio.current_time()

    async def send_all(self, data: bytes) -> None:
        self._tls.encrypt(data)
        await self._flush()

    def send_now(self, data: bytes) -> bool:
        self._tls.encrypt(data)
        return self._wire.send_now(self._tls.to_send())

    async def receive(self) -> bytes:
        while (data := self._tls.decrypt()) is None:
            await self._flush()
            self._tls.take_in(await self._wire.receive())
        self._keep_session()
        return data  # noqa: ASYNC910 - the rest of what it has waited for

    def receive_nowait(self) -> bytes | None:
        # A session ticket or a new key makes the wire below readable, but is no data of the upstream's.
        while (data := self._tls.decrypt()) is None:
            arrived = self._wire.receive_nowait()
            if arrived is None:
                return None
            self._tls.take_in(arrived)
        return data

    def close(self) -> None:
        try:
            with suppress(Exception):  # a courtesy, which must not fail: also when there is no memory
                self._say_goodbye()
        finally:
            self._wire.close()
            self._free()

    def abort(self) -> None:
        self._wire.abort()
        self._free()

    def _say_goodbye(self) -> None:
        if self._tls.is_secure:
            try:
                self._tls.openssl.unwrap()  # usually raises: it wants the upstream's
            finally:
                self._wire.send_now(self._tls.to_send())

    def _free(self) -> None:
        self._tls.free()
        self._sessions = None

    async def _flush(self) -> None:  # noqa: ASYNC910 - as `Wire.send_all`
        if self._tls.has_to_send:
            await self._wire.send_all(self._tls.to_send())

    def _keep_session(self) -> None:
        """Once per connection, after its first bytes."""
        if self._sessions is not None:
            self._sessions.keep(self._origin, self._tls.openssl, self._verified_at)
            self._sessions = None
