"""Every way to be a bad client over HTTP/2 that we know, as acts like those of `hostile`.

The door must speak HTTP/2 (`over_http2`). An act ends by itself, or holds its connection until cancelled.
"""

from __future__ import annotations

import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

import trio

from tests.blackbox.front_door.door import Door, closing
from tests.blackbox.front_door.hostile import Act
from tests.blackbox.front_door.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_WINDOW,
    OPENING,
    PADDED,
    PING,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    fields,
    frame,
    goaway,
    headers,
    priority,
    reset,
    settings,
    window,
)

FLOOD_FRAMES: Final = 20_000  # of each flood, if it is let
_RACE: Final = block(*fields(b"/api/first?timeout=2000"))
_CHEAP: Final = block(*fields())
_LARGE: Final = block(*fields(b"/openapi.json"))
_POST: Final = block(*fields(method=b"POST"))
_OPEN: Final = headers(1, _RACE, END_HEADERS)  # a request whose body is still to come


def over_http2(door: Door) -> Door:
    """The same door for clients that speak HTTP/2."""
    assert door.tls is not None
    context = ssl.create_default_context(cadata=b"".join(door.tls.get_ca_certs(binary_form=True)))
    context.set_alpn_protocols(["h2"])
    return replace(door, tls=context)


def sending(data: bytes) -> Act:
    """Send, take what comes for a second, and go."""

    async def act(door: Door) -> None:
        with closing(await door.connect()) as client:
            await client.send(data)
            with trio.move_on_after(1):
                await client.rest()

    return act


def silent_after(data: bytes) -> Act:
    """Send, read nothing, say nothing, and stay."""

    async def act(door: Door) -> None:
        with closing(await door.connect()) as client:
            await client.send(data)
            await trio.sleep_forever()

    return act


def flooding(first: bytes, frames: Callable[[int], bytes], *, reads: bool) -> Act:
    """Send frames in writes of two hundred until the server has had enough. reads: also what it answers."""

    async def act(door: Door) -> None:
        with closing(await door.connect(receive_buffer_bytes=None if reads else 4096)) as client:
            await client.send(first)
            async with trio.open_nursery() as nursery:
                if reads:
                    nursery.start_soon(client.rest)
                with suppress(trio.BrokenResourceError):  # `closing` would find it in a group
                    for start in range(0, FLOOD_FRAMES, 200):
                        await client.send(b"".join(map(frames, range(start, start + 200))))
                if not reads:
                    await trio.sleep_forever()
                nursery.cancel_scope.cancel()

    return act


def leaving(data: bytes, *, reset: bool) -> Act:
    """Leave, without a word of TLS, when the server is in the middle of it."""

    async def act(door: Door) -> None:
        with closing(await door.connect(), reset=reset) as client:
            await client.send(data)
            await trio.sleep(0.05)

    return act


async def resetting_what_runs(door: Door) -> None:
    """As rapid reset, but each request has begun its upstream calls before it is taken back."""
    with closing(await door.connect()) as client:
        await client.send(OPENING)
        for first in range(1, 4001, 100):
            streams = range(first, first + 100, 2)
            await client.send(b"".join(headers(stream_id, _RACE) for stream_id in streams))
            await trio.sleep(0.02)
            await client.send(b"".join(map(reset, streams)))


async def dripping(door: Door) -> None:
    """A window of one byte, opened by another one twenty times a second."""
    with closing(await door.connect()) as client:
        await client.send(PREFACE + settings((INITIAL_WINDOW_SIZE, 1)) + headers(1, _LARGE))
        while True:
            await trio.sleep(0.05)
            await client.send(window(1, 1))


async def byte_by_byte(door: Door) -> None:
    with closing(await door.connect()) as client:
        for byte in OPENING + headers(1, _CHEAP) * 20:
            await client.send(bytes([byte]))
            await trio.sleep(0.1)


def _odd(number: int) -> int:
    return 2 * number + 1


def _bomb() -> bytes:
    """One field of 4,000 bytes, and references to it: 40 MB of fields in 14 kB."""
    literal = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000  # to be indexed; the length is 127 + 3873
    return block(*fields()) + literal + b"\xbe" * 10_000


def _in_continuations(stream_id: int, header_block: bytes) -> bytes:
    pieces = [header_block[at : at + 16_000] for at in range(0, len(header_block), 16_000)]
    parts = [frame(HEADERS, END_STREAM, stream_id, pieces[0])]
    parts += [frame(CONTINUATION, 0, stream_id, piece) for piece in pieces[1:]]
    return b"".join(parts) + frame(CONTINUATION, END_HEADERS, stream_id)


def _requests(header_block: bytes, requests: int) -> bytes:
    return b"".join(headers(_odd(number), header_block) for number in range(requests))


FLOODS: Final[dict[str, tuple[bytes, Callable[[int], bytes]]]] = {
    "rapid reset": (OPENING, lambda number: headers(_odd(number), _RACE) + reset(_odd(number))),
    "made you reset": (
        OPENING,
        lambda number: headers(_odd(number), _RACE) + window(_odd(number), LARGEST_WINDOW),
    ),
    "malformed requests": (OPENING, lambda number: headers(_odd(number), block(*fields(b"\xff")))),
    "continuations": (OPENING + headers(1, _CHEAP, 0), lambda _: frame(CONTINUATION, 0, 1)),
    "endless head": (OPENING + headers(1, _CHEAP, 0), lambda _: frame(CONTINUATION, 0, 1, bytes(16_000))),
    "pings": (OPENING, lambda _: frame(PING, 0, 0, bytes(8))),
    "answers to pings": (OPENING, lambda _: frame(PING, ACK, 0, bytes(8))),
    "settings": (OPENING, lambda _: settings()),
    "tables": (OPENING, lambda number: settings((HEADER_TABLE_SIZE, number))),
    "windows of every stream": (
        OPENING + _requests(_RACE, 100),
        lambda number: settings((INITIAL_WINDOW_SIZE, 1000 + number % 2)),
    ),
    "empty data": (OPENING + _OPEN, lambda _: frame(DATA, 0, 1)),
    "padding": (OPENING + _OPEN, lambda _: frame(DATA, PADDED, 1, b"\xff" + bytes(255))),
    "data without end": (OPENING + _OPEN, lambda _: frame(DATA, 0, 1, bytes(1000))),
    "priorities": (OPENING, lambda number: priority(_odd(number), 0)),
    "windows": (OPENING, lambda _: window(0, 1)),
    "one frame": (OPENING + b"\xff\xff\xff" + frame(DATA, 0, 1)[3:], lambda _: bytes(800)),
    "unknown frames": (OPENING, lambda _: frame(0x42, 0, 0)),
    "resets of closed streams": (OPENING + headers(1, _CHEAP) + reset(1), lambda _: reset(1)),
    "requests on closed streams": (OPENING + headers(1, _CHEAP) + reset(1), lambda _: headers(1, _CHEAP)),
}
BROKEN_FRAMES: Final[dict[str, bytes]] = {
    "PING of seven bytes": frame(PING, 0, 0, bytes(7)),
    "SETTINGS of five bytes": frame(SETTINGS, 0, 0, bytes(5)),
    "SETTINGS acknowledged with bytes": frame(SETTINGS, ACK, 0, bytes(6)),
    "SETTINGS with an invalid window": settings((INITIAL_WINDOW_SIZE, 2**31)),
    "SETTINGS with an invalid frame size": settings((5, 1)),
    "RST_STREAM of three bytes": headers(1, _RACE) + frame(RST_STREAM, 0, 1, bytes(3)),
    "WINDOW_UPDATE of three bytes": frame(WINDOW_UPDATE, 0, 0, bytes(3)),
    "WINDOW_UPDATE of nothing": headers(1, _RACE) + window(1, 0),
    "WINDOW_UPDATE beyond the largest": window(0, LARGEST_WINDOW) * 2,
    "PRIORITY of four bytes": frame(2, 0, 1, bytes(4)),
    "PRIORITY on itself": priority(1, 1),
    "PRIORITY in a circle": priority(3, 5 | 1 << 31) + priority(5, 3 | 1 << 31) + priority(7, 9),
    "HEADERS on itself": headers(1, struct.pack(">IB", 1, 1) + _CHEAP, 0x25),
    "GOAWAY of three bytes": frame(7, 0, 0, bytes(3)),
    "a frame of 16 MB": b"\xff\xff\xff" + frame(DATA, 0, 1)[3:] + bytes(100_000),
    "padding longer than its frame": _OPEN + frame(DATA, PADDED, 1, b"\xffabc"),
    "PING on a stream": frame(PING, 0, 1, bytes(8)),
    "SETTINGS on a stream": frame(SETTINGS, 0, 1),
    "DATA on no stream": frame(DATA, 0, 0, b"abc"),
    "DATA on an idle stream": frame(DATA, 0, 5, b"abc"),
    "DATA behind the end": headers(1, _RACE) + frame(DATA, 0, 1, b"abc"),
    "HEADERS on no stream": headers(0, _CHEAP),
    "HEADERS on an even stream": headers(2, _CHEAP),
    "HEADERS on an older stream": headers(5, _CHEAP) + headers(3, _CHEAP),
    "HEADERS twice": _OPEN + headers(1, _RACE, END_HEADERS),
    "RST_STREAM on an idle stream": reset(5),
    "WINDOW_UPDATE on an idle stream": window(5, 1),
    "CONTINUATION of nothing": frame(CONTINUATION, END_HEADERS, 1, _CHEAP),
    "CONTINUATION of another stream": headers(1, _CHEAP, 0) + frame(CONTINUATION, END_HEADERS, 3),
    "PING within a head": headers(1, _CHEAP, 0) + frame(PING, 0, 0, bytes(8)),
    "PUSH_PROMISE by a client": _OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + _CHEAP),
    "ALTSVC by a client": _OPEN + frame(10, 0, 1, bytes(8)),
    "fields that are not HPACK": headers(1, b"\xff" * 100),
    "a table that is too large": headers(1, b"\x3f\xe1\xff\xff\x0f" + _CHEAP),
    "a field bomb": headers(1, _bomb()),
    "too many fields": _in_continuations(
        1, block(*fields(b"/", *[(b"x-%d" % n, b"y") for n in range(9000)]))
    ),
    "more streams than allowed": b"".join(headers(_odd(n), _RACE, END_HEADERS) for n in range(1000)),
}
MALFORMED: Final[dict[str, bytes]] = {
    name: headers(1, block(*sent))
    for name, sent in {
        "a field in upper case": fields(b"/", (b"X-Upper", b"1")),
        "no path": fields()[:3],
        "an empty path": fields(b""),
        "a path that is not ASCII": fields(b"/\xff"),
        "a relative path": fields(b"api/first"),
        "a method that is not ASCII": fields(method=b"G\xff"),
        "no method": fields()[1:],
        "two paths": fields(b"/", (b":path", b"/")),
        "an unknown pseudo field": fields(b"/", (b":unknown", b"1")),
        "a status": fields(b"/", (b":status", b"200")),
        "a pseudo field behind a field": ((b"x", b"1"), *fields()),
        "Connection": fields(b"/", (b"connection", b"close")),
        "Transfer-Encoding": fields(b"/", (b"transfer-encoding", b"chunked")),
        "TE": fields(b"/", (b"te", b"gzip")),
        "a line end in a value": fields(b"/", (b"x", b"a\r\ny: b")),
        "NUL in a value": fields(b"/", (b"x", b"\x00")),
        "a name with a space": fields(b"/", (b"x y", b"1")),
        "a length of a body that is not there": fields(b"/", (b"content-length", b"5")),
        "a length that is no number": fields(b"/", (b"content-length", b"x")),
        "an authority and another host": fields(b"/", (b"host", b"b")),
        "CONNECT": ((b":method", b"CONNECT"), (b":authority", b"a:1")),
        "CONNECT with a path": fields(method=b"CONNECT"),
        "websocket": fields(b"/", (b":protocol", b"websocket"), method=b"CONNECT"),
    }.items()
}
OTHER_BEGINNINGS: Final[dict[str, bytes]] = {
    "garbage": bytes(range(256)) * 4,
    "HTTP/1.1": b"GET /api/first HTTP/1.1\r\nHost: a\r\n\r\n",
    "no SETTINGS": PREFACE + headers(1, _CHEAP),
    "the preface twice": PREFACE * 2,
}
SILENCES: Final[dict[str, bytes]] = {
    "at once": b"",
    "in the preface": PREFACE[:12],
    "after the preface": PREFACE,
    "after SETTINGS": OPENING,
    "in a frame": OPENING + headers(1, _CHEAP)[:15],
    "in a head": OPENING + headers(1, _CHEAP, 0),
    "in a body": OPENING + headers(1, _POST, END_HEADERS) + frame(DATA, 0, 1, b"abc"),
    "after a request was taken back": OPENING + headers(1, _RACE) + reset(1),
    "after an answer": OPENING + headers(1, _CHEAP),
    "after GOAWAY": OPENING + goaway(),
    "after GOAWAY, with a request running": OPENING + headers(1, _RACE) + goaway(),
    "with no window": PREFACE + settings((INITIAL_WINDOW_SIZE, 0)) + _requests(_CHEAP, 90),
    "with no window for the connection": PREFACE
    + settings((INITIAL_WINDOW_SIZE, LARGEST_WINDOW))
    + _requests(_LARGE, 90),
}
STAGES: Final[dict[str, bytes]] = {
    "in the preface": PREFACE[:12],
    "in a frame": OPENING + headers(1, _RACE)[:15],
    "in a head": OPENING + headers(1, _RACE, 0),
    "in a body": OPENING + _OPEN + frame(DATA, 0, 1, b"abc"),
    "while its request runs": OPENING + headers(1, _RACE),
    "while many requests run": OPENING + _requests(_RACE, 90),
    "while it is answered": OPENING + _requests(_LARGE, 90),
    "after a reset": OPENING + headers(1, _RACE) + reset(1),
    "after GOAWAY": OPENING + headers(1, _RACE) + goaway(),
}
BODIES: Final[dict[str, bytes]] = {
    "a body without a length": _OPEN + frame(DATA, END_STREAM, 1, b"abc"),
    "a body longer than its length": headers(
        1, block(*fields(b"/", (b"content-length", b"1"), method=b"POST")), END_HEADERS
    )
    + frame(DATA, END_STREAM, 1, b"abc"),
    "a body in pieces, refused at its head": headers(
        1, block(*fields(b"/", (b"content-length", b"40"), method=b"POST")), END_HEADERS
    )
    + frame(DATA, 0, 1, b"x") * 40,
    "trailers with a pseudo field": _OPEN + headers(1, block((b":path", b"/"))),
    "trailers": _OPEN + headers(1, block((b"x", b"y"))),
    "priority in the head": headers(1, struct.pack(">IB", 3, 1) + _CHEAP, 0x5 | HAS_PRIORITY),
}

HTTP2_KINDS: Final[dict[str, Act]] = {
    **{f"flood of {name}, read": flooding(*parts, reads=True) for name, parts in FLOODS.items()},
    **{f"flood of {name}, not read": flooding(*parts, reads=False) for name, parts in FLOODS.items()},
    **{f"frame: {name}": sending(OPENING + sent) for name, sent in BROKEN_FRAMES.items()},
    **{f"malformed: {name}": sending(OPENING + sent) for name, sent in MALFORMED.items()},
    **{f"body: {name}": sending(OPENING + sent) for name, sent in BODIES.items()},
    **{f"begins with {name}": sending(sent) for name, sent in OTHER_BEGINNINGS.items()},
    **{f"silent {name}": silent_after(sent) for name, sent in SILENCES.items()},
    **{f"RST {stage}": leaving(sent, reset=True) for stage, sent in STAGES.items()},
    **{f"FIN {stage}": leaving(sent, reset=False) for stage, sent in STAGES.items()},
    "resetting what runs": resetting_what_runs,
    "dripping": dripping,
    "byte by byte": byte_by_byte,
}
