"""Frames at random against HTTP/2, in virtual time: what a client sends must never show as a bug of ours.

A seed is a conversation: valid requests, nearly valid ones, frames of every type on any stream, with any
flags and lengths, cut anywhere, then an end. The same seed is the same conversation. The long form:

    python -m tests.server.random_frames --seeds 20000 [--first 0]
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import hpack
import trio
import trio.testing

from fanout.api.problems import render
from fanout.server.driver import Driver
from fanout.server.limits import Limits
from tests.blackbox.front_door.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    OPENING,
    PING,
    RST_STREAM,
    WINDOW_UPDATE,
    Field,
    block,
    fields,
    frame,
    settings,
)
from tests.server.apps import Echo
from tests.server.http2 import serve_http2
from tests.server.http2_hostile import ALLOWED, GOODBYE, OWN, SAME
from tests.server.serving import MemoryTransport

# Small, so that a short conversation meets all of them.
LIMITS = Limits(max_streams=20, max_resets=6, max_spare_frames=40, spare_frames_a_request=4)
_PATHS = (b"/", b"/slow", b"/stream", b"/big", b"/%ff?a=b", b"*", b"", b"x")
_HEADS: list[list[Field]] = [
    *(head for head, expected in (SAME | OWN).values() if expected != GOODBYE),
    *(head for _, head in ALLOWED.values()),
]
_MORE: tuple[Field, ...] = (
    (b"content-length", b"5"),
    (b"cookie", b"a=b"),
    (b"cookie", b"c=d"),
    (b"expect", b"100-continue"),
    (b"te", b"trailers"),
    (b"", b""),
)


class Conversation:
    """What a client sends. How often it is hostile the seed says: never, or with every second frame."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._hostile = self._chance.choice((0.0, 0.02, 0.1, 0.5))
        self._next_stream_id = 1
        self._open: list[int] = []  # requests that are still to come to their end

    def pieces(self) -> Iterator[bytes | float]:
        """The bytes, cut anywhere, and the seconds that it waits in between."""
        chance = self._chance
        sent = bytearray(OPENING if chance.random() < 0.97 else chance.randbytes(chance.randrange(60)))
        for _ in range(chance.randrange(1, 60)):
            is_hostile = chance.random() < self._hostile
            data = bytearray(self._hostile_frame() if is_hostile else self._frame())
            if is_hostile and chance.random() < 0.2 and data:
                data[chance.randrange(len(data))] = chance.randrange(256)
            sent += data
            if chance.random() < 0.3:
                cut = chance.randrange(len(sent) + 1)
                yield bytes(sent[:cut])
                del sent[:cut]
                yield chance.choice((0, 0, 0, 0.5, 2, 20))
        yield bytes(sent)

    def _frame(self) -> bytes:
        """What a client may send, more or less: a stream may have ended before."""
        chance = self._chance
        stream_id = chance.choice(self._open or [1])
        kind = chance.randrange(14)
        if kind < 7:
            stream_id, self._next_stream_id = self._next_stream_id, self._next_stream_id + 2
            flags = END_HEADERS | chance.choice((0, END_STREAM, END_STREAM))
            if not flags & END_STREAM:
                self._open.append(stream_id)
            if kind < 2:
                return frame(HEADERS, flags, stream_id, block(*chance.choice(_HEADS)))
            more = chance.sample(_MORE, chance.choice((0, 0, 0, 1, 2)))
            method = chance.choice((b"GET", b"POST", b"HEAD"))
            return frame(
                HEADERS, flags, stream_id, block(*fields(chance.choice(_PATHS), *more, method=method))
            )
        if kind < 10 and not self._open:
            return b""
        if kind < 8:
            self._open.remove(stream_id)
            trailers = block(chance.choice(_MORE), (b"x-trailer", b"y"))
            return frame(HEADERS, END_HEADERS | END_STREAM, stream_id, trailers)
        if kind < 10:
            flags = chance.choice((0, END_STREAM))
            if flags:
                self._open.remove(stream_id)
            return frame(DATA, flags, stream_id, bytes(chance.choice((0, 1, 5, 3000))))
        if kind < 11 and self._next_stream_id > 1:
            stream_id = chance.randrange(1, self._next_stream_id, 2)
            if stream_id in self._open:
                self._open.remove(stream_id)
            return frame(RST_STREAM, 0, stream_id, struct.pack(">I", chance.choice((0, 8, 2**32 - 1))))
        if kind < 12:
            increment = struct.pack(">I", chance.choice((1, 70_000, 10_000_000)))
            return frame(WINDOW_UPDATE, 0, chance.choice((0, stream_id)), increment)
        if kind < 13:
            return settings((chance.choice((1, 3, 4, 6, 99)), chance.choice((0, 1, 100, 2**14, 10**6))))
        return frame(GOAWAY, 0, 0, bytes(8)) if chance.random() < 0.1 else frame(PING, 0, 0, bytes(8))

    def _hostile_frame(self) -> bytes:
        chance = self._chance
        stream_id = chance.choice((0, 1, 3, 2, 2**31 - 1, self._next_stream_id, chance.randrange(1, 40)))
        payload = chance.randbytes(chance.choice((0, 4, 5, 6, 8, 100)))
        data = frame(chance.randrange(12), chance.randrange(256), stream_id, payload)
        return data if chance.random() < 0.9 else chance.randbytes(3) + data[3:]


async def converse(seed: int) -> str:
    """Hold one conversation. How the connection ended. Raises for what may not happen."""
    chance = random.Random(~seed)
    crashes: list[BaseException] = []
    driver = Driver(LIMITS, on_crash=crashes.append, render=render)
    app = Echo(slow_s=5)
    theirs, ours = trio.testing.memory_stream_pair()
    answers = bytearray()

    async def read() -> None:
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            while data := await theirs.receive_some():
                answers.extend(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        nursery.start_soon(serve_http2, app, driver, MemoryTransport(ours, theirs.send_stream))
        if chance.random() < 0.8:
            nursery.start_soon(read)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            for piece in Conversation(seed).pieces():
                if isinstance(piece, bytes):
                    await theirs.send_all(piece)
                else:
                    await trio.sleep(piece)
        match chance.randrange(4):
            case 0:
                driver.drain()
            case 1:
                await theirs.send_eof()
            case 2:
                await theirs.aclose()
        await trio.sleep(200)  # beyond every bound
        assert crashes == [], f"seed {seed}: {crashes!r}"
        statistics = driver.statistics()
        assert (statistics.open, statistics.waiting, app.running) == (0, 0, 0), (
            f"seed {seed}: it has not ended"
        )
        nursery.cancel_scope.cancel()
    _check_answers(bytes(answers), seed)
    (end,) = statistics.ended
    return end


def _check_answers(data: bytes, seed: int) -> None:
    """Whole frames, the last one aside; one answer a stream at most, and nothing behind its end.

    A 100 may come before the answer, once.
    """
    at = 0
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 2**32  # what the client allowed is not followed here
    continued: set[int] = set()
    answered: set[int] = set()
    ended: set[int] = set()
    while at + 9 <= len(data):
        length = int.from_bytes(data[at : at + 3])
        kind, flags, stream_id = struct.unpack(">BBI", data[at + 3 : at + 9])
        sent = data[at + 9 : at + 9 + length]
        at += 9 + length
        if stream_id == 0 or kind in (WINDOW_UPDATE, RST_STREAM):
            continue
        assert kind in (HEADERS, DATA), f"seed {seed}: a frame of type {kind}"
        assert stream_id not in ended, f"seed {seed}: more behind the end of stream {stream_id}"
        if kind == HEADERS and len(sent) == length:
            is_interim = (b":status", b"100") in list(decoder.decode(sent, raw=True))
            assert stream_id not in answered, f"seed {seed}: stream {stream_id} was answered twice"
            assert not is_interim or stream_id not in continued, f"seed {seed}: two interim answers"
            (continued if is_interim else answered).add(stream_id)
        if flags & END_STREAM:
            ended.add(stream_id)


def run(seed: int) -> str:
    return trio.run(converse, seed, clock=trio.testing.MockClock(autojump_threshold=0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1000)
    options = parser.parse_args()
    ends: Counter[str] = Counter()
    failed: list[int] = []
    for seed in range(options.first, options.first + options.seeds):
        try:
            ends[run(seed)] += 1
        except Exception as error:  # noqa: BLE001 - every seed is tried
            failed.append(seed)
            sys.stderr.write(f"seed {seed}: {error!r}\n")
    sys.stdout.write(f"{options.seeds} conversations, {len(failed)} failed; ended: {dict(ends)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
