"""Tracing, switched on by OpenTelemetry's own variables. Off, it costs nothing: nothing of it is imported."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from loguru import logger

from fanout.config import Settings, SettingsError, mask_url
from fanout.observe.tracing_settings import TracingSettings, read_tracing

if TYPE_CHECKING:
    from fanout.observe.tracing import Tracing


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
            fix = "pip install 'fanout[otel]'"
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
