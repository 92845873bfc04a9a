"""HTTP/2 on the wire, for clients that must be able to send what no library sends."""

from __future__ import annotations

import struct
from typing import Final

from hpack import Encoder

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4  # settings
CANCEL: Final = 8
LARGEST_WINDOW: Final = 2**31 - 1
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Field = tuple[bytes, bytes]


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def block(*fields: Field) -> bytes:
    """A header block that needs nothing of the blocks before it."""
    return Encoder().encode(fields)


def fields(path: bytes = b"/nothing", *more: Field, method: bytes = b"GET") -> tuple[Field, ...]:
    return ((b":method", method), (b":authority", b"a"), (b":scheme", b"https"), (b":path", path), *more)


def headers(stream_id: int, header_block: bytes, flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream_id, header_block)


def reset(stream_id: int) -> bytes:
    return frame(RST_STREAM, 0, stream_id, struct.pack(">I", CANCEL))


def window(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">I", increment))


def goaway() -> bytes:
    return frame(GOAWAY, 0, 0, bytes(8))


def priority(stream_id: int, depends_on: int) -> bytes:
    return frame(PRIORITY, 0, stream_id, struct.pack(">IB", depends_on, 10))


OPENING: Final = PREFACE + settings()
