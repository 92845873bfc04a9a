"""Decodes compressed bodies as httpx does, but bounds their size and refuses leftover bytes.

Rule: the decoder consumes every byte of the body or refuses the body. gzip may have several members, one
      after the other, which are one body (RFC 1952 §2.2). A reader of only the first sees another answer.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Final

import httpx

from fanout.upstream.errors import BodyTooLarge

# By zlib's `wbits`. RFC 9110 §8.4.1.3: x-gzip is gzip.
_FORMATS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": -15}
# Each takes a decompressor and a copy of the rest: 64 KiB of empty members would be 3,000 of them.
MAX_MEMBERS: Final = 32


def decode(encoding: bytes, body: bytes, max_bytes: int) -> bytes:
    """The decoded body; `encoding` is a content-encoding in lower case.

    Raises `httpx.DecodingError` when the body is damaged, incomplete, followed by other bytes, or in another
    encoding or two of them. Raises `BodyTooLarge` at the first byte too many.
    """
    if encoding == b"identity":
        return body
    wbits = _FORMATS.get(encoding)
    if wbits is None:
        raise httpx.DecodingError(f"content-encoding {encoding!r} is not supported")
    if encoding == b"deflate":
        with suppress(zlib.error):  # some servers send it without the zlib header, against RFC 9110
            return _inflate(15, body, max_bytes)
    try:
        return _inflate(wbits, body, max_bytes)
    except zlib.error as error:
        raise httpx.DecodingError(f"the {encoding.decode()} body is damaged: {error}") from error


def _inflate(wbits: int, body: bytes, max_bytes: int) -> bytes:
    """Raises `zlib.error` if the bytes do not have this format."""
    decoded = b""
    for _ in range(MAX_MEMBERS):
        member = zlib.decompressobj(wbits)
        decoded += member.decompress(body, max_bytes + 1 - len(decoded))
        if len(decoded) > max_bytes:
            raise BodyTooLarge(f"an answer with more than {max_bytes} bytes of body, decoded")
        if not member.eof:
            raise httpx.DecodingError("the compressed body is incomplete")
        body = member.unused_data
        if not body:
            return decoded
        if wbits != 31:
            break
    raise httpx.DecodingError("bytes behind the compressed body, or too many members in it")
