"""The frames of an HTTP/2 connection are counted as its bytes come in, whole or cut anywhere. G10."""

from __future__ import annotations

import pytest
import trio
from h2.errors import ErrorCodes

from fanout.server.frames import MAX_FRAME_BYTES, Allowance, Frames
from fanout.server.limits import Limits
from tests.blackbox.front_door.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    frame,
    headers,
    settings,
)

PINGS = frame(PING, 0, 0, bytes(8))
RESERVED = 2**31
LIMITS = Limits(max_head_block_bytes=100, max_spare_frames=5, spare_frames_per_s=1, spare_frames_a_request=2)


async def test_an_allowance_is_spent_at_once_and_comes_back_with_time(autojump_clock: object) -> None:
    allowance = Allowance(burst=3, per_s=2)
    for _ in range(3):
        allowance.spend()
    await trio.sleep(1)
    for _ in range(2):
        allowance.spend()
    assert not allowance.overdrawn
    allowance.spend()
    assert allowance.overdrawn


async def test_an_allowance_is_filled_up_when_it_is_used_up(autojump_clock: object) -> None:
    allowance = Allowance(burst=2, per_s=1)
    allowance.spend()
    await trio.sleep(10)
    for _ in range(3):
        allowance.spend()
    overdrawn = [allowance.overdrawn]
    for _ in range(2):
        allowance.spend()
        await trio.sleep(10)
        overdrawn.append(allowance.overdrawn)
    assert overdrawn == [False, True, True]  # for good


@pytest.mark.parametrize("piece_bytes", [1, 2, 7, 9, 10, 1000])
@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (settings() + PINGS * 4, None),
        (settings() + PINGS * 5, ErrorCodes.ENHANCE_YOUR_CALM),
        (PINGS * 5 + headers(1, b"x") + PINGS * 2, None),
        (PINGS * 5 + headers(1, b"x") + PINGS * 3, ErrorCodes.ENHANCE_YOUR_CALM),
        (PINGS * 5 + headers(1, b"x") + headers(1, b"x") * 3, ErrorCodes.ENHANCE_YOUR_CALM),
        (PINGS * 5 + headers(3, b"x") + headers(1, b"x") * 3, ErrorCodes.ENHANCE_YOUR_CALM),
        (headers(1, bytes(100)) + headers(3, bytes(100)), None),
        (headers(1, bytes(101)), ErrorCodes.ENHANCE_YOUR_CALM),
        (
            frame(HEADERS, 0, 1, bytes(90)) + frame(CONTINUATION, 0, 1, bytes(11)),
            ErrorCodes.ENHANCE_YOUR_CALM,
        ),
        (frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, bytes(100)), None),
        (frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, bytes(101)), ErrorCodes.ENHANCE_YOUR_CALM),
        (frame(HEADERS, END_STREAM, 1) + frame(CONTINUATION, END_HEADERS, 1) + headers(3, b"x"), None),
        # A reserved bit is no part of a stream's number.
        (PINGS * 5 + headers(RESERVED | 1, b"x") + headers(3, b"x") + PINGS * 4, None),
        (frame(DATA, 0, 1, bytes(MAX_FRAME_BYTES)), None),
        (b"\x00\x40\x01" + frame(DATA, 0, 1)[3:], ErrorCodes.FRAME_SIZE_ERROR),
        (b"\x01\x00\x00" + frame(DATA, 0, 1)[3:], ErrorCodes.FRAME_SIZE_ERROR),
        (frame(DATA, 0, 1, bytes(MAX_FRAME_BYTES + 1)), ErrorCodes.FRAME_SIZE_ERROR),
        (b"\xff\xff\xff" + frame(DATA, 0, 1)[3:], ErrorCodes.FRAME_SIZE_ERROR),
    ],
)
async def test_what_is_too_much(sent: bytes, error: ErrorCodes | None, piece_bytes: int) -> None:
    frames = Frames(LIMITS)
    data = PREFACE + sent
    found = [frames.count(data[at : at + piece_bytes]) for at in range(0, len(data), piece_bytes)]
    assert found[-1] == error


@pytest.mark.parametrize("piece_bytes", [1, 2, 7, 9, 10, 1000])
@pytest.mark.parametrize(
    ("sent", "is_stray"),
    [
        (frame(HEADERS, END_STREAM, 1) + frame(CONTINUATION, END_HEADERS, 1) + headers(3, b"x"), False),
        (frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 2, False),
        (frame(CONTINUATION, 0, 1), True),
        (frame(CONTINUATION, 0, 1, b"x"), True),
        (frame(CONTINUATION, 0, 1, b"x")[:-1], False),  # it is not complete
        (frame(CONTINUATION, 0, 1, b"x") + settings(), True),
        (frame(CONTINUATION, 0, 1, b"x") + frame(CONTINUATION, 0, 1, b"x")[:-1], True),
        (headers(1, b"x") + frame(CONTINUATION, END_HEADERS, 1), True),
        (frame(HEADERS, 0, 1) + PINGS + frame(CONTINUATION, 0, 1), True),
        (frame(HEADERS, 0, 1) + frame(CONTINUATION, END_HEADERS, 1) + frame(CONTINUATION, 0, 1), True),
    ],
)
async def test_a_continuation_of_nothing(sent: bytes, is_stray: bool, piece_bytes: int) -> None:
    """RFC 9113 6.10."""
    frames = Frames(LIMITS)
    data = PREFACE + sent
    for at in range(0, len(data), piece_bytes):
        assert frames.count(data[at : at + piece_bytes]) is None
    assert frames.have_stray is is_stray


async def test_the_preface_is_no_frame() -> None:
    frames = Frames(LIMITS)
    frames.count(PREFACE)
    assert frames.number == 0
    for number in (1, 2, 3):
        frames.count(settings())
        assert frames.number == number
