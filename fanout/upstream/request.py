"""The bytes of one HTTP/1.1 request, head and body in one piece: one write, mostly one packet."""

from __future__ import annotations

import httpx


async def request_bytes(request: httpx.Request) -> bytes:  # noqa: ASYNC910 - the answer is waited for next, always
    """What to send for `request`, whose headers httpx has completed (`Host`, `Content-Length`).

    Raises `httpx.LocalProtocolError` for what must not be sent: a line break in the head would
    start a second request, and a body of unknown length is not supported.
    """
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
    return head + await request.aread()
