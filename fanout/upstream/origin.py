"""Whom a request is for: scheme, host and port. Each origin has a pool of its own."""

from __future__ import annotations

from typing import Final, NamedTuple

import httpx

DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """`host` is a name or an IP literal without brackets, in ASCII (IDNA) and lower case."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def origin_of(url: httpx.URL) -> Origin:
    """The origin of an absolute URL. Raises `httpx.UnsupportedProtocol` for anything but http and https."""
    scheme = url.scheme
    default_port = DEFAULT_PORTS.get(scheme)
    if default_port is None or not url.raw_host:
        raise httpx.UnsupportedProtocol(f"{str(url)!r} is not an absolute http or https URL")
    return Origin(scheme, url.raw_host.decode("ascii"), url.port or default_port)
