"""The work that an HTTP/2 client may ask for besides requests: counted on the raw bytes, before parsing.

A request pays for itself: it is admitted or refused like any other. Every other frame costs time and asks
for nothing (pings, settings, empty data, windows, priorities, whatever comes tomorrow), so a connection has
an allowance of them, which its requests and the time fill up again. What h2 keeps until it is complete is
bounded in bytes: it would keep a frame of 16 MB, and a header block of 64 frames.

A CONTINUATION that continues nothing is noticed here too: h2 lets it pass on a stream that was reset.
"""

from __future__ import annotations

import struct
from math import inf
from typing import Final

import trio
from h2.errors import ErrorCodes

from fanout.server.limits import Limits

_PREFACE_BYTES: Final = 24
_FRAME_HEAD: Final = struct.Struct(">BHBBI")  # length in three bytes, type, flags, stream
_HEADERS: Final = 0x1
_CONTINUATION: Final = 0x9
_END_HEADERS: Final = 0x4
_STREAM_ID: Final = 2**31 - 1
MAX_FRAME_BYTES: Final = 2**14  # every client may send it, and no client more; RFC 9113 4.2


class Allowance:
    """So many at once, and so many a second. `overdrawn` for good once one more was spent."""

    __slots__ = ("_burst", "_credit", "_filled_at", "_per_s", "overdrawn")

    def __init__(self, burst: int, per_s: float) -> None:
        self._burst = self._credit = float(burst)
        self._per_s = per_s
        self._filled_at = trio.current_time()
        self.overdrawn = False

    def earn(self, count: float) -> None:
        self._credit = min(self._burst, self._credit + count)

    def spend(self) -> None:
        if self._credit < 1:
            now = trio.current_time()
            self.earn((now - self._filled_at) * self._per_s)
            self._filled_at = now
        self._credit -= 1
        self.overdrawn = self.overdrawn or self._credit < 0


class Frames:
    """The frames of one connection, as they come in. number: of those that have begun, behind the preface."""

    __slots__ = (
        *("_allowance", "_head", "_head_bytes", "_head_is_open", "_limits", "_newest", "_skip", "_stray"),
        *("_too_long", "number"),
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._allowance = Allowance(limits.max_spare_frames, limits.spare_frames_per_s)
        self._skip = _PREFACE_BYTES
        self._head = b""  # of the next frame, what there is of it
        self._newest = 0  # the highest stream
        self._head_bytes = 0  # of a header block
        self._head_is_open = False  # it continues in the next frame
        self._stray = inf  # the number of the first that continues nothing
        self._too_long = False
        self.number = 0

    def count(self, data: bytes) -> ErrorCodes | None:
        """Count what comes next. With an error the connection is to be closed, and `data` not parsed."""
        at = 0
        while at < len(data):
            skipped = min(self._skip, len(data) - at)
            self._skip -= skipped
            at += skipped
            more = data[at : at + _FRAME_HEAD.size - len(self._head)]
            at += len(more)
            self._head += more
            if len(self._head) == _FRAME_HEAD.size:
                self._on_frame(*_FRAME_HEAD.unpack(self._head))
                self._head = b""
        if self._too_long:
            return ErrorCodes.FRAME_SIZE_ERROR
        if self._allowance.overdrawn or self._head_bytes > self._limits.max_head_block_bytes:
            return ErrorCodes.ENHANCE_YOUR_CALM
        return None

    @property
    def have_stray(self) -> bool:
        """Whether a CONTINUATION that continues nothing has come, to its end."""
        return self._stray < self.number or (self._stray == self.number and not self._skip)

    def _on_frame(self, high: int, low: int, kind: int, flags: int, stream: int) -> None:
        self.number += 1
        self._skip = high << 16 | low
        self._too_long = self._too_long or self._skip > MAX_FRAME_BYTES
        if kind == _CONTINUATION:
            if not self._head_is_open:
                self._stray = min(self._stray, self.number)
            self._head_bytes += self._skip
        elif kind == _HEADERS:
            self._head_bytes = self._skip
        self._head_is_open = kind in (_HEADERS, _CONTINUATION) and not flags & _END_HEADERS
        stream &= _STREAM_ID
        if kind == _HEADERS and stream > self._newest:
            self._newest = stream
            self._allowance.earn(self._limits.spare_frames_a_request)
        else:
            self._allowance.spend()
