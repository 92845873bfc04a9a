"""One HTTP/1.1 request, and its bytes: head and body in one piece, so one write, mostly one packet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from fanout.upstream.origin import origin_of


class PreparedRequest(httpx.Request):
    """A GET that is made again and again.

    outgoing: what `request_bytes` would give. origin: whom it is for. Raises `httpx.UnsupportedProtocol`.
    """

    method = "GET"
    _like: PreparedRequest  # what this one is once more
    _more_headers: Sequence[tuple[bytes, bytes]]  # than that one has

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        super().__init__("GET", url, headers=headers)
        self.outgoing = _head_bytes(self)
        self.origin = origin_of(self.url)

    def again(
        self, extensions: dict[str, Any], more_headers: Sequence[tuple[bytes, bytes]]
    ) -> PreparedRequest:
        """The same request with these extensions: everything else is shared, for a tenth of its cost.

        more_headers: no line breaks in them.
        """
        request = PreparedRequest.__new__(PreparedRequest)
        request.extensions = extensions
        request.origin = self.origin
        request._like = self
        request._more_headers = more_headers
        if more_headers:
            more = [b"%b: %b\r\n" % header for header in more_headers]
            request.outgoing = b"".join([self.outgoing[:-2], *more, b"\r\n"])
        else:
            request.outgoing = self.outgoing
        return request

    def __getattr__(self, name: str) -> Any:
        """Of the first such request, what nobody has asked of this one yet."""
        like = self.__dict__.get("_like")
        if like is None:
            raise AttributeError(name)
        value = getattr(like, name)
        if name == "headers":
            value = httpx.Headers([*value.raw, *self._more_headers])
        setattr(self, name, value)
        return value


async def request_bytes(request: httpx.Request) -> bytes:  # noqa: ASYNC910 - the answer is waited for next, always
    """What to send for `request`, whose headers httpx has completed (`Host`, `Content-Length`).

    Raises `httpx.LocalProtocolError` for what must not be sent: a line break in the head would
    start a second request, and a body of unknown length is not supported.
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
