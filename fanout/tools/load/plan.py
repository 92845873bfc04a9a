"""What to do: one frozen value, complete and checked before anything is sent."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from math import isfinite
from typing import Literal
from urllib.parse import urlsplit

from fanout.config import mask_refused_url

from .endpoint import ENDPOINTS, Endpoint

Arrivals = Literal["constant", "poisson"]
HIGHEST_RATE_PER_S = 1_000_000


class BadPlan(ValueError):
    """The plan contradicts itself or cannot be read. The message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server listens. `prefix` goes before every path: "" or "/something"."""

    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL, written out in full."""
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix}"


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One run. Times of the schedule are seconds, times of a request milliseconds.

    The schedule lasts `duration_s` after `warmup_s`, or until `requests` arrivals after it; at least one
    of the two bounds is set. The ramp is the first `ramp_s` of the schedule, warm-up included.
    """

    target: Target
    mix: tuple[tuple[Endpoint, float], ...] = ((ENDPOINTS["first"], 1.0),)
    rate_per_s: float = 100.0
    arrivals: Arrivals = "constant"
    duration_s: float | None = 10.0
    requests: int | None = None
    ramp_s: float = 0.0
    warmup_s: float = 0.0
    timeouts_ms: tuple[int, ...] = (1000,)
    allowance_ms: float = 0.0
    give_up_ms: float = 1000.0
    keep_alive: bool = True
    max_connections: int = 10_000
    hang_up_share: float = 0.0
    hang_up_within_ms: float = 100.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.duration_s is None and self.requests is None:
            raise BadPlan("a run needs a bound: a duration or a number of requests")
        times = (self.duration_s or 0.0, self.ramp_s, self.warmup_s, self.allowance_ms, self.give_up_ms)
        if not all(map(isfinite, (*times, self.hang_up_share, self.hang_up_within_ms))):
            raise BadPlan("times and shares are finite numbers")
        if not 0 < self.rate_per_s <= HIGHEST_RATE_PER_S:
            raise BadPlan(f"the rate is above 0 and at most {HIGHEST_RATE_PER_S:,} a second")


def parsed_target(url: str, *, insecure: bool = False, ca_file: str | None = None) -> Target:
    """The target that a base URL names; `insecure` accepts any certificate. Raises BadPlan."""
    shown = mask_refused_url(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # its text has parts of the URL
        raise BadPlan(f"{shown!r} is not a URL such as http://127.0.0.1:8080") from None
    plain = url.isascii() and url.isprintable() and " " not in url and "@" not in url
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or not plain:
        raise BadPlan(f"{shown!r} is not a base URL such as http://127.0.0.1:8080")
    tls = None
    if parts.scheme == "https":
        tls = _tls_context(insecure, ca_file)
    elif insecure or ca_file:
        raise BadPlan("--insecure and --ca are for an https URL")
    default_port = 443 if tls else 80
    return Target(host, default_port if port is None else port, parts.path.rstrip("/"), tls)


def parsed_mix(text: str) -> tuple[tuple[Endpoint, float], ...]:
    """The weights of `first=3,all=1`. A name alone weighs 1. Raises BadPlan."""
    mix: dict[str, float] = {}
    for part in text.split(","):
        name, equals, weight_text = part.strip().partition("=")
        weight = _number(weight_text if equals else "1")
        if name not in ENDPOINTS or name in mix or not 0 < weight < 1e9:
            known = " and ".join(ENDPOINTS)
            raise BadPlan(f"{part.strip()!r} in the mix: give {known}, each once, as in first=3,all=1")
        mix[name] = weight
    return tuple((ENDPOINTS[name], weight) for name, weight in mix.items())


def parsed_timeouts(text: str) -> tuple[int, ...]:
    """The whole milliseconds of `1000` or `300,1000`. Raises BadPlan."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[1-9][0-9]{0,8}", part) for part in parts):
        raise BadPlan(f"{text!r}: timeouts are whole milliseconds from 1 up, as in 1000 or 300,1000")
    return tuple(map(int, parts))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _tls_context(insecure: bool, ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise BadPlan(f"the CA file {ca_file!r} cannot be used: {error.strerror or error}") from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
