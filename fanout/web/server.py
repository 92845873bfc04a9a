"""Serving one application on listeners that are already open: our connections on hypercorn's worker."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio
from hypercorn.config import Config

from fanout.config import Settings, SettingsError
from fanout.web.asgi import App
from fanout.web.certificates import load_certificate
from fanout.web.driver.driver import Driver
from fanout.web.driver.server import serve


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a TLS listener shows: PEM files of the chain and of its private key."""

    chain: Path
    key: Path


def certificate_of(settings: Settings) -> Certificate | None:
    """The certificate that the settings name, if any. Raises `SettingsError` when it cannot be used."""
    chain, key = settings.tls_cert, settings.tls_key
    if chain is None or key is None:
        return None
    try:
        load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain, key)
    except ValueError as error:
        raise SettingsError(
            f"FANOUT_TLS_CERT={chain} and FANOUT_TLS_KEY={key} cannot be used: {error}"
        ) from None
    return Certificate(chain, key)


async def serve_app(
    app: App,
    driver: Driver,
    listeners: Sequence[socket.socket],
    *,
    certificate: Certificate | None = None,
    shutdown: Callable[[], Awaitable[None]],
    grace_s: float,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` returns, then let what runs finish for at most `grace_s` seconds.

    With a `certificate` the listeners speak TLS: HTTP/1.1, and HTTP/2 over ALPN.
    """
    config = Config()
    config.graceful_timeout = grace_s
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    if certificate is not None:
        config.certfile, config.keyfile = str(certificate.chain), str(certificate.key)
    plain, secure = (listeners, ()) if certificate is None else ((), listeners)
    await serve(
        app,
        driver,
        insecure=plain,
        secure=secure,
        config=config,
        shutdown=shutdown,
        task_status=task_status,
    )
