"""A request and its response: httpx's objects, without the parts that a race does not use.

A race makes the same request again and again, and reads status and content of the response. To make all of
httpx's objects for that takes longer than the call. So the other parts are made when they are first read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import httpx

Headers = Sequence[tuple[bytes, bytes]]

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


class _Unfinished:
    """An object of httpx's that its constructor did not make. The first missing attribute completes it."""

    _rest: Any  # what `_in_full` needs

    def _in_full(self, rest: Any) -> object:
        """httpx's own object, to take the missing attributes from."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        rest = self.__dict__.pop("_rest", None)
        if rest is None:
            raise AttributeError(name)
        self.__dict__ = {**vars(self._in_full(rest)), **self.__dict__}
        return getattr(self, name)


class PreparedRequest(_Unfinished, httpx.Request):
    """A GET that is made again and again.

    outgoing: the bytes to send. origin: the server that it is for. Raises `httpx.UnsupportedProtocol`.
    """

    method = "GET"

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        super().__init__("GET", url, headers=headers)
        self.outgoing = _head_bytes(self)
        self.origin = origin_of(self.url)

    def again(self, extensions: dict[str, Any], more_headers: Headers) -> PreparedRequest:
        """The same request with these extensions, for a tenth of the cost. more_headers: no line breaks."""
        request = PreparedRequest.__new__(PreparedRequest)
        request.extensions = extensions
        request.origin = self.origin
        request._rest = self, more_headers
        request.outgoing = self.outgoing
        if more_headers:
            more = [b"%b: %b\r\n" % header for header in more_headers]
            request.outgoing = b"".join([self.outgoing[:-2], *more, b"\r\n"])
        return request

    def _in_full(self, rest: tuple[PreparedRequest, Headers]) -> httpx.Request:
        like, more_headers = rest
        return httpx.Request("GET", like.url, headers=[*like.headers.raw, *more_headers])


class CompleteResponse(_Unfinished, httpx.Response):
    """A response that was read, and closed: nothing of it is left to close."""

    def __init__(
        self, status: int, headers: Callable[[], Headers], content: bytes, request: httpx.Request
    ) -> None:
        self.status_code = status
        self.is_stream_consumed = self.is_closed = True
        self._content = content  # what `read` would find
        self._rest = headers, request

    def _in_full(self, rest: tuple[Callable[[], Headers], httpx.Request]) -> httpx.Response:
        headers, request = rest
        stream = httpx.ByteStream(self._content)
        response = httpx.Response(self.status_code, headers=list(headers()), stream=stream, request=request)
        response.read()
        return response


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
