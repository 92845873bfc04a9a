"""Heads of HTTP/2, and conversations of a client: valid in most places, odd in few.

Field blocks are written without a dynamic table, so each can be read alone.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Final

from tests.blackbox.front_door.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    OPENING,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    WINDOW_UPDATE,
    Field,
    frame,
    settings,
)

_PSEUDO: Final = (b":method", b":scheme", b":authority", b":path")
_VALUES: Final = {
    b":method": (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"QUERY"),
    b":scheme": (b"https", b"http"),
    b":authority": (b"a", b"a:80", b"[::1]"),
    b":path": (b"/", b"/a?b=c", b"/%41", b"//", b"/?"),
}
_ODD_VALUES: Final = {
    b":method": (b"get", b"FOO", b"CONNECT", b"", b"G@T", b"GET ", b"G\x00T", b"PRI", b"\xff"),
    b":scheme": (b"HTTPS", b"ftp", b"", b"a b", b"https:", b" http"),
    b":authority": (
        b"",
        b"u@a",
        b"a/b",
        b"a b",
        b"a:99999",
        b"a:b",
        b"\xff",
        b"a\r\n",
        b"[::1",
        b"[]",
        b"b",
        b"a:",
    ),
    b":path": (
        b"",
        b"*",
        b"a",
        b"/#",
        b"/ ",
        b"/a b",
        b"/\x80",
        b"http://a/",
        b"/\x00",
        b"/\t",
        b"/" + b"x" * 130,
    ),
}
_FIELDS: Final = (
    (b"x", b"y"), (b"accept", b"*/*"), (b"cookie", b"a=b"), (b"cookie", b"c=d"), (b"te", b"trailers"),
    (b"x", b""),
    (b"x", b"a\tb"), (b"x", b"\xe9"), (b"!#$%&'*+-.^_`|~", b"1"), (b"host", b"a"), (b"host", b"A"),
    (b"priority", b"u=1"),
)  # fmt: skip
_ODD_FIELDS: Final = (
    (b"X", b"y"), (b"xY", b"z"), (b"", b"y"), (b"x y", b"z"), (b"x:y", b"z"), (b"x\x00", b"y"),
    (b"\xe9", b"y"), (b"a(b", b"c"),
    (b"x", b" y"), (b"x", b"y\t"), (b"x", b" "), (b"x", b"a\nb"), (b"x", b"a\rb"), (b"x", b"a\x00"),
    (b"x", b"\x01"),
    (b"x", b"\x7f"), (b"x", b"a\x0bb"), (b"connection", b"close"), (b"connection", b""),
    (b"keep-alive", b"timeout=5"),
    (b"proxy-connection", b"close"), (b"transfer-encoding", b"chunked"), (b"upgrade", b"h2c"), (b"te",
    b"gzip"),
    (b"te", b"trailers, gzip"), (b"te", b"Trailers"), (b"te", b""), (b"host", b"b"), (b"host", b"a:80"),
    (b"host", b"a:443"), (b"host", b"a:"), (b"host", b""), (b"host", b"a/b"),
    (b"Host", b"a"), (b"content-length", b"0"), (b"content-length", b"5"), (b"content-length", b"+5"),
    (b"content-length", b""), (b"content-length", b"5, 5"), (b"content-length", b"0x5"),
    (b"content-length", b"5_0"),
    (b"content-length", b"9" * 16), (b"content-length", b"\xb2"), (b"content-length ", b"5"),
    (b"expect", b"100-continue"),
    (b"expect", b"100-Continue"), (b"expect", b"x"), (b"expect", b""), (b"expect", b"100-continue, x"),
    (b":status", b"200"), (b":path", b"/x"), (b":foo", b"b"),
    (b":protocol", b"websocket"), (b":method", b"GET"), (b":", b"x"), (b"::path", b"/"), (b"x", b"y" * 700),
    (b"http2-settings", b"AAMAAABk"), (b":authority", b"a"),
)  # fmt: skip
_BYTES: Final = b"\r\n \t\x00\x0b\x7f\x80\xff:;,=/*@AZaz09"


class Http2Grammar:
    """Draws inputs. chance: of everything in them."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._odd = 0.0

    def head(self) -> bytes:
        """One head: a byte that is 1 if the stream ends with it, and a field block."""
        self._be_odd()
        return bytes((self._chance.random() < 0.7,)) + block(self._fields([]))

    def conversation(self) -> bytes:
        """All that a client sends on one connection."""
        self._be_odd()
        chance = self._chance
        streams = [self._request(2 * number + 1) for number in range(chance.choice((1, 1, 2, 3, 4)))]
        frames = [OPENING]
        while any(streams):
            stream = chance.choice(streams)
            if stream:
                frames.append(stream.pop(0))
            if self._is_odd():
                frames.append(self._odd_frame())
        if self._is_odd() and len(frames) > 2:
            at = chance.randrange(1, len(frames))
            frames.insert(chance.randrange(1, len(frames)), frames.pop(at))
        data = b"".join(frames)
        while self._is_odd():
            data = self.mutated(data, data)
        return data

    def mutated(self, data: bytes, other: bytes) -> bytes:
        """An input that was interesting, with some bytes changed."""
        chance = self._chance
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(3):
                case 0:
                    data = data[:at] + bytes((chance.choice(_BYTES),)) + data[at + 1 :]
                case 1:
                    data = data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
                case _:
                    data = data[:at] + data[at + chance.randrange(1, 12) :]
        return data

    def _be_odd(self) -> None:
        self._odd = self._chance.choice((0.0, 0.02, 0.05, 0.1, 0.3))

    def _is_odd(self) -> bool:
        return self._chance.random() < self._odd

    def _fields(self, more: list[Field]) -> list[Field]:
        chance = self._chance
        pseudo = [
            (name, chance.choice((_ODD_VALUES if self._is_odd() else _VALUES)[name]))
            for name in _PSEUDO
            if not self._is_odd()
        ]
        if chance.random() < 0.3:
            chance.shuffle(pseudo)
        fields = [chance.choice(_FIELDS) for _ in range(chance.choice((0, 0, 1, 1, 2)))] + more
        if chance.random() < 4 * self._odd:
            fields += [chance.choice(_ODD_FIELDS) for _ in range(chance.choice((1, 1, 1, 2, 12)))]
        if self._is_odd():
            fields.append(self._changed(chance.choice(_FIELDS)))
        fields = pseudo + fields
        if self._is_odd():
            at = chance.randrange(len(fields)) if fields else 0
            fields[at:at] = [chance.choice(_ODD_FIELDS)]
        return fields

    def _changed(self, field: Field) -> Field:
        part = self._chance.randrange(2)
        old = field[part]
        at = self._chance.randrange(len(old) + 1)
        new = old[:at] + bytes((self._chance.choice(_BYTES),)) + old[at + self._chance.randrange(2) :]
        return (new, field[1]) if part == 0 else (field[0], new)

    def _request(self, stream_id: int) -> list[bytes]:
        """The frames of one stream."""
        chance = self._chance
        body = [chance.randbytes(chance.choice((0, 1, 5, 90))) for _ in range(chance.choice((0, 0, 0, 1, 2)))]
        length = sum(map(len, body)) + (chance.choice((1, -1)) if self._is_odd() else 0)
        more = [(b"content-length", b"%d" % length)] if body and chance.random() < 0.5 else []
        if self._is_odd():
            more.append((b"content-length", b"%d" % length))
        if body and chance.random() < 0.1:
            more.append((b"expect", b"100-continue"))
        trailers = chance.random() < 0.25
        frames = self._head_frames(stream_id, self._fields(more), ended=not body and not trailers)
        for number, piece in enumerate(body, 1):
            flags = 0 if trailers or number < len(body) else END_STREAM
            if self._is_odd():
                flags ^= END_STREAM
            if chance.random() < 0.1:
                flags, piece = flags | PADDED, b"\x02" + piece + bytes(2)
            frames.append(frame(DATA, flags, stream_id, piece))
        if trailers:
            odd = chance.choice(_ODD_FIELDS) if chance.random() < 6 * self._odd else (b"x-sum", b"1")
            frames += self._head_frames(stream_id, [(b"x-trailer", b"y"), odd], ended=not self._is_odd())
        if self._is_odd():
            frames.append(frame(RST_STREAM, 0, stream_id, struct.pack(">I", chance.choice((0, 8)))))
        return frames

    def _head_frames(self, stream_id: int, fields: list[Field], *, ended: bool) -> list[bytes]:
        data = block(fields)
        flags = END_STREAM if ended else 0
        if self._chance.random() < 0.1:  # no frame may stand between the two
            at = self._chance.randrange(len(data) + 1)
            return [
                frame(HEADERS, flags, stream_id, data[:at])
                + frame(CONTINUATION, END_HEADERS, stream_id, data[at:])
            ]
        return [frame(HEADERS, flags | END_HEADERS, stream_id, data)]

    def _odd_frame(self) -> bytes:
        chance = self._chance
        stream_id = chance.choice((0, 1, 3, 5, 2, 99))
        match chance.randrange(7):
            case 0:
                return frame(PING, 0, 0, bytes(8))
            case 1:
                return settings((chance.choice((1, 3, 4, 6, 99)), chance.choice((100, 70_000, 0))))
            case 2:
                return frame(WINDOW_UPDATE, 0, stream_id, struct.pack(">I", chance.choice((1, 1000, 0))))
            case 3:
                return frame(PRIORITY, 0, stream_id, bytes(5))
            case 4:
                return frame(DATA, chance.choice((0, END_STREAM)), stream_id, b"odd")
            case 5:
                return frame(GOAWAY, 0, 0, bytes(8)) if chance.random() < 0.3 else b""
            case _:
                return frame(
                    chance.randrange(12),
                    chance.randrange(256),
                    stream_id,
                    chance.randbytes(chance.randrange(9)),
                )


def block(fields: list[Field]) -> bytes:
    """A field block of literals that are not kept (RFC 7541 6.2.2)."""
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields)


def _string(text: bytes) -> bytes:
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    length -= 127
    prefix = b"\x7f"
    while length >= 128:
        prefix += bytes((length & 0x7F | 0x80,))
        length >>= 7
    return prefix + bytes((length,)) + text
