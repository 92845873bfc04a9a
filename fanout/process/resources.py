"""What the settings name and a process needs, each opened or refused with one clear line.

Tracing is switched on by OpenTelemetry's own variables. Off, it costs nothing: nothing of it is imported.
"""

from __future__ import annotations

import os
import ssl
from importlib import import_module
from typing import TYPE_CHECKING

from loguru import logger

from fanout.config import Settings, SettingsError, mask_url
from fanout.observe.tracing_settings import TracingSettings, read_tracing
from fanout.process.composition import make_transport
from fanout.server.certificates import Certificate, load_certificate
from fanout.upstream.tls import client_context
from fanout.upstream.transport import PoolTransport

if TYPE_CHECKING:
    from fanout.observe.tracing import Tracing


def open_transport(settings: Settings) -> PoolTransport:
    """The pool of upstream connections, with the certificate authorities that the settings name.

    Raises `SettingsError` when the file of authorities cannot be used.
    """
    try:
        ssl_context = client_context(settings.upstream_ca)
    except OSError as error:
        if settings.upstream_ca is None:
            fix = "check SSL_CERT_FILE, SSL_CERT_DIR and SSLKEYLOGFILE"
            raise SettingsError(f"the system's authorities cannot be read: {error}: {fix}") from None
        fix = "use a PEM file with at least one certificate that this user may read"
        raise SettingsError(f"FANOUT_UPSTREAM_CA={settings.upstream_ca}: {fix} ({error})") from None
    return make_transport(settings, ssl_context)


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


def tracing_settings() -> TracingSettings | None:
    """What the environment says; `None`: no traces. What they need is then imported, which takes a while.

    Raises `SettingsError`, also when the extra is not installed.
    """
    try:
        settings = read_tracing(os.environ)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    if settings is not None:
        try:
            import_module("fanout.observe.tracing")
        except ImportError as error:
            fix = "pip install 'fanout-server[otel]'"
            raise SettingsError(f"{settings.asked_by}: traces need an extra: {fix} ({error})") from None
        except ValueError as error:  # OpenTelemetry reads some variables when it is imported
            raise SettingsError(str(error)) from None
    return settings


def open_tracing(tracing: TracingSettings | None, settings: Settings) -> Tracing | None:
    """The tracer of this process. It starts a thread; if that fails, there are no traces."""
    if tracing is None:
        return None
    from fanout.observe.tracing import Tracing  # brings OpenTelemetry, which is an extra

    try:
        return Tracing(tracing, [mask_url(url) for url in settings.calls])
    except RuntimeError as error:  # `can't start new thread`
        logger.error("there are no traces: {}", error)
        return None
