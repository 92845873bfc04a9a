"""HTTP/2 frames as bytes. Written here once more: what the server has for them is what is judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
UNKNOWN: Final = 0xBB
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
INITIAL_WINDOW_SIZE: Final = 0x4
_HEAD_BYTES: Final = 9
MAX_BYTES: Final = 16384


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Splitter:
    """Feed it the bytes of one direction of a connection."""

    def __init__(self, preface: bytes = b"") -> None:
        self._skip = len(preface)
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with these bytes."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        data = self._rest + data[skipped:]
        at = 0
        while len(data) - at >= _HEAD_BYTES:
            end = at + _HEAD_BYTES + int.from_bytes(data[at : at + 3], "big")
            if end > len(data):
                break
            stream = int.from_bytes(data[at + 5 : at + _HEAD_BYTES], "big") & 0x7FFFFFFF
            yield Frame(data[at + 3], data[at + 4], stream, data[at + _HEAD_BYTES : end])
            at = end
        self._rest = data[at:]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def continued(head: bytes) -> bytes:
    """A HEADERS frame with its END_HEADERS flag, as three frames: the head, a byte of it, and the rest."""
    (one,) = Splitter().feed(head)
    pieces = one.payload[:3], one.payload[3:4], one.payload[4:]
    return (
        frame(HEADERS, one.flags & ~END_HEADERS, one.stream, pieces[0])
        + frame(CONTINUATION, 0, one.stream, pieces[1])
        + frame(CONTINUATION, END_HEADERS, one.stream, pieces[2])
    )


def fragment(one: Frame) -> bytes:
    """The part of a field block in a HEADERS or CONTINUATION frame without padding."""
    has_priority = one.kind == HEADERS and one.flags & 0x20
    return one.payload[5:] if has_priority else one.payload
