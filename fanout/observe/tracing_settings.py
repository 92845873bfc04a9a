"""Whether requests are traced, from OpenTelemetry's standard variables; an empty one counts as unset.

Read here is what decides at the start; where spans are sent, and with which headers, certificates and
timeout (`OTEL_EXPORTER_OTLP_*`; only checked here), and what the resource is (`OTEL_SERVICE_NAME`,
`OTEL_RESOURCE_ATTRIBUTES`), is read by OpenTelemetry itself. Nothing here imports it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Final
from urllib.parse import urlsplit

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TIMEOUTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_PROTOCOL: Final = "http/protobuf"
_FOLLOWS_CLIENT: Final = "parentbased_"
_ROOTS: Final = {"always_on": 1.0, "always_off": 0.0, "traceidratio": None}
SAMPLERS: Final = (*_ROOTS, *(_FOLLOWS_CLIENT + root for root in _ROOTS))


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """asked_by: the variable that switched traces on, with its value. collector: where spans go. Both may be
        shown: of a URL they have the scheme, host and port.
    ratio: the share of traces that is sampled, 0 to 1. follows_client: a client's decision counts instead.
    max_waiting: how many spans may wait to be sent; more are dropped. max_batch: how many are sent at once.
    delay_ms: how long a span waits for others at most.
    """

    asked_by: str
    collector: str
    ratio: float
    follows_client: bool
    max_waiting: int
    max_batch: int
    delay_ms: int


@dataclass(frozen=True, slots=True)
class TracingStatistics:
    """Counts since the start. requests_sampled: those that have spans.

    Of these spans: delivered to the collector; waiting to be; dropped, because too many were waiting; failed,
    because the collector did not take them.
    """

    requests_sampled: int
    spans_delivered: int
    spans_waiting: int
    spans_dropped: int
    spans_failed: int


def read_tracing(environment: Mapping[str, str]) -> TracingSettings | None:
    """`None` when nothing is to be traced, which is so unless a variable says where spans go.

    Raises `ValueError`: the setting, the value, the fix, in one line.
    """

    def value(name: str) -> str:
        return environment.get(name, "").strip()

    def count(name: str, default: int) -> int:
        return _count(name, value(name)) if value(name) else default

    exporter = value("OTEL_TRACES_EXPORTER")
    endpoint = next((name for name in _ENDPOINTS if value(name)), None)
    if exporter == "none" or not (exporter or endpoint) or value("OTEL_SDK_DISABLED").lower() == "true":
        return None
    if exporter not in ("", "otlp"):
        raise ValueError(f"OTEL_TRACES_EXPORTER={exporter!r}: use otlp or none")
    for name in _PROTOCOLS:
        if value(name) not in ("", _PROTOCOL):
            raise ValueError(f"{name}={value(name)!r}: use {_PROTOCOL}; a collector takes it on port 4318")
    for name in _TIMEOUTS:
        if value(name):
            _check_timeout(name, value(name))
    collector = _shown(endpoint, value(endpoint)) if endpoint else "http://localhost:4318"
    sampler = value("OTEL_TRACES_SAMPLER") or "parentbased_always_on"
    max_waiting = count("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
    return TracingSettings(
        asked_by=f"{endpoint}={collector}" if endpoint else f"OTEL_TRACES_EXPORTER={exporter}",
        collector=collector,
        ratio=_ratio(sampler, value("OTEL_TRACES_SAMPLER_ARG")),
        follows_client=sampler.startswith(_FOLLOWS_CLIENT),
        max_waiting=max_waiting,
        max_batch=min(count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), max_waiting),
        delay_ms=count("OTEL_BSP_SCHEDULE_DELAY", 5000),
    )


def _ratio(sampler: str, argument: str) -> float:
    if sampler not in SAMPLERS:
        raise ValueError(f"OTEL_TRACES_SAMPLER={sampler!r}: use one of {', '.join(SAMPLERS)}")
    ratio = _ROOTS[sampler.removeprefix(_FOLLOWS_CLIENT)]
    if ratio is None:
        try:
            ratio = float(argument or 1.0)
        except ValueError:
            ratio = -1.0
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG={argument!r}: use a ratio from 0.0 to 1.0")
    return ratio


def _check_timeout(name: str, text: str) -> None:
    """With another one, every batch would fail, or none would end."""
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = 0.0
    if not 0.0 < timeout_s < inf:
        raise ValueError(f"{name}={text!r}: use a number of seconds above 0")


def _shown(name: str, url: str) -> str:
    """Without what may be secret in it: user, password, path and query."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    except ValueError:
        pass  # as wrong as any other
    raise ValueError(f"{name} is not an http URL: use one such as http://localhost:4318")


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0):
        raise ValueError(f"{name}={text!r}: use a whole number above 0")
    return int(text)
