"""A request, its bytes and whom it is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import httpx

Headers = Sequence[tuple[bytes, bytes]]
# Asked at the moment at which a request is sent. `None`: it is too late, send nothing.
HeadersToSend = Callable[[], Headers | None]
MakeBytes = Callable[[], bytes | None]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """The server that a request is for. Each origin has a pool of its own.

    `host` is a name or an IP literal without brackets, in ASCII (IDNA) and lower case.
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def origin_of(url: httpx.URL) -> Origin:
    """The origin of an absolute URL. Raises `httpx.UnsupportedProtocol` for anything but http and https."""
    scheme = url.scheme
    default_port = _DEFAULT_PORTS.get(scheme)
    if default_port is None or not url.raw_host:
        raise httpx.UnsupportedProtocol(f"{str(url)!r} is not an absolute http or https URL")
    return Origin(scheme, url.raw_host.decode("ascii"), url.port or default_port)


class PreparedGet:
    """A GET that is made again and again: httpx makes its parts once. Raises `httpx.UnsupportedProtocol`.

    origin: the server that it is for.
    """

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.request = httpx.Request("GET", url, headers=headers)
        self.origin = origin_of(self.request.url)
        self._bytes = _head_bytes(self.request)
        self._fields = self._bytes[:-2]  # without the empty line behind them

    def bytes_with(self, more_headers: Headers) -> bytes:
        """What to send. more_headers: no line breaks."""
        if not more_headers:
            return self._bytes
        if len(more_headers) == 1:  # nearly always, and in a third of the time
            return b"%b%b: %b\r\n\r\n" % (self._fields, *more_headers[0])
        return b"".join([self._fields, *[b"%b: %b\r\n" % header for header in more_headers], b"\r\n"])


async def request_bytes(request: httpx.Request) -> bytes:  # noqa: ASYNC910 - the answer is waited for next, always
    """What to send for `request`, whose headers httpx has completed (`Host`, `Content-Length`).

    Head and body in one piece, so one write, mostly one packet. Raises `httpx.LocalProtocolError` for what
    must not be sent: a line break in the head would start a second request, and a body of unknown length is
    not supported.
    """
    return _head_bytes(request) + await request.aread()


def _head_bytes(request: httpx.Request) -> bytes:
    method = request.method.encode("ascii")
    headers = request.headers.raw
    lines = [b"%b %b HTTP/1.1" % (method, request.url.raw_path)]
    lines += [b"%b: %b" % header for header in headers]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if head.count(b"\n") != len(headers) + 2 or head.count(b"\r") != len(headers) + 2 or b"\0" in head:
        raise httpx.LocalProtocolError("a line break or a NUL in the request's head")
    if lines[0].count(b" ") != 2:
        raise httpx.LocalProtocolError("a space in the request's method")
    if "transfer-encoding" in request.headers:
        raise httpx.LocalProtocolError("a request body needs a known length")
    return head
