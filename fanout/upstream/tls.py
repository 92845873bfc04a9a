"""What TLS to an upstream means: who is trusted, and for how long one verification counts.

Verification of chain and host name is always on; there is no switch.
"""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path
from typing import Final

import certifi
import trio
import truststore

from fanout.upstream.origin import Origin

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
    return bool(paths.cafile or (paths.capath and any(os.scandir(paths.capath))))
