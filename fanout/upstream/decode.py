"""Compressed bodies, as httpx decodes them, but bounded: a bomb does not go off."""

from __future__ import annotations

import zlib
from typing import Final

import httpx

# By zlib's `wbits`. Some servers send deflate without the zlib header, against RFC 9110: tried second.
_FORMATS: Final = {b"gzip": (31,), b"deflate": (15, -15)}


class BodyTooLarge(httpx.TransportError):
    """The answer has more bytes than the transport accepts."""


def decode(encoding: bytes, body: bytes, max_bytes: int) -> bytes:
    """The decoded body; `encoding` is a content-encoding in lower case.

    Raises `httpx.DecodingError` when it is damaged, incomplete or of another encoding, also of two
    in a row, and `BodyTooLarge` as soon as there is one byte too many.
    """
    if encoding == b"identity":
        return body
    failure: zlib.error | None = None
    for wbits in _FORMATS.get(encoding, ()):
        decompressor = zlib.decompressobj(wbits)
        try:
            decoded = decompressor.decompress(body, max_bytes + 1)
        except zlib.error as error:
            failure = error
            continue
        if len(decoded) > max_bytes:
            raise BodyTooLarge(f"an answer with more than {max_bytes} bytes of body, decoded")
        if not decompressor.eof:
            raise httpx.DecodingError(f"the {encoding.decode()} body is incomplete")
        return decoded
    raise httpx.DecodingError(f"content-encoding {encoding!r}: {failure or 'not supported'}") from failure
