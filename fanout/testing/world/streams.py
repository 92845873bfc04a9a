"""What the server has read and written on one HTTP/2 connection, frame by frame, as it does.

It keeps the windows of the flow control by itself: from what the server has read of its client's grants, and
from what it has written.
"""

from __future__ import annotations

from dataclasses import dataclass

from hpack import Decoder

from fanout.testing.world import frames
from fanout.testing.world.answers import Answer, BadAnswer
from fanout.testing.world.frames import ACK, END_HEADERS, END_STREAM, Frame, Splitter

_USUAL_WINDOW = 65535


@dataclass(slots=True, eq=False)
class Stream:
    """One stream. read_at: when the server had read its head. window: how much more it may write.

    left_at: when it had read the client's RST_STREAM. reset_at, reset: its own, and the error in it.
    """

    read_at: float
    window: int
    left_at: float | None = None
    answer: Answer | None = None
    reset_at: float | None = None
    reset: int | None = None

    @property
    def is_over(self) -> bool:
        """The server may write nothing more on it."""
        return self.reset_at is not None or (self.answer is not None and self.answer.last_at is not None)


@dataclass(frozen=True, slots=True)
class GoAway:
    """The server's GOAWAY: no stream beyond `last` was begun."""

    at: float
    last: int
    error: int


class StreamsReader:
    """Feed it what the server reads and writes. to_head: streams whose answer is one to HEAD.

    noise: the place of the first byte that is no HTTP/2, if the client sends any.
    left_at: when the server had read that, or the client's GOAWAY. frames: how many were read.
    has_spoken: it has written something.
    pings: when those were read that are not answered.
    was_held: some answer had to wait for a window.
    """

    def __init__(self) -> None:
        self.answers: list[Answer] = []  # as they were begun
        self.completed: list[Answer] = []  # as they ended
        self.streams: dict[int, Stream] = {}
        self.to_head: set[int] = set()
        self.goaway: GoAway | None = None
        self.noise: int | None = None
        self.left_at: float | None = None
        self.pings: list[float] = []
        self.frames = 0
        self.has_spoken = False
        self.was_held = False
        self._of: dict[int, int] = {}  # the streams of the answers, by their place
        self._read = Splitter(frames.PREFACE)
        self._read_bytes = 0
        self._written = Splitter()
        self._block = b""
        self._decoder = Decoder()
        self._window = self._initial = _USUAL_WINDOW
        self._sizes: list[int | None] = []  # of windows, that were read and not acknowledged

    def stream_of(self, place: int) -> int:
        """The stream of an answer, by its place among them."""
        return self._of[place]

    # What the server reads.

    def take(self, data: bytes, now: float) -> None:
        before = self._read_bytes
        self._read_bytes += len(data)
        if self.noise is not None and self._read_bytes > self.noise:
            self.left_at = self.left_at or now
            data = data[: max(0, self.noise - before)]
        for one in self._read.feed(data):
            self.frames += 1
            self._on_read(one, now)

    def _on_read(self, one: Frame, now: float) -> None:
        stream = self.streams.get(one.stream)
        match one.kind:
            case frames.HEADERS | frames.CONTINUATION:
                if one.flags & END_HEADERS and stream is None:
                    self.streams[one.stream] = Stream(now, self._initial)
            case frames.RST_STREAM:
                if stream is not None and stream.left_at is None:
                    stream.left_at = now
            case frames.SETTINGS:
                if not one.flags & ACK:
                    self._sizes.append(self._window_size(one.payload, now))
            case frames.PING:
                if not one.flags & ACK:
                    self.pings.append(now)
            case frames.GOAWAY:
                self.left_at = self.left_at or now
            case frames.WINDOW_UPDATE:
                if not one.stream:
                    self._window += int.from_bytes(one.payload, "big")
                elif stream is not None:
                    stream.window += int.from_bytes(one.payload, "big")
                self._note_room(now)

    def _window_size(self, settings: bytes, now: float) -> int | None:
        """The new size of windows. A larger one holds at once, and a smaller one with its acknowledgement."""
        for at in range(0, len(settings), 6):
            if int.from_bytes(settings[at : at + 2], "big") == frames.INITIAL_WINDOW_SIZE:
                size = int.from_bytes(settings[at + 2 : at + 6], "big")
                if size < self._initial:
                    return size
                self._on_window_size(size, now)
        return None

    def _on_window_size(self, size: int, now: float) -> None:
        for stream in self.streams.values():
            stream.window += size - self._initial
        self._initial = size
        self._note_room(now)

    # What it writes.

    def feed(self, data: bytes, now: float) -> None:
        """One write: what there was room for, perhaps nothing. Raises `BadAnswer`."""
        for one in self._written.feed(data):
            self.has_spoken = True
            self._on_written(one, now)

    def _on_written(self, one: Frame, now: float) -> None:
        if one.kind == frames.PING and one.flags & ACK:
            del self.pings[:1]
        elif one.kind == frames.SETTINGS and one.flags & ACK and self._sizes:
            size = self._sizes.pop(0)
            if size is not None:
                self._on_window_size(size, now)
        elif one.kind == frames.GOAWAY:
            last, error = (int.from_bytes(one.payload[at : at + 4], "big") for at in (0, 4))
            self.goaway = GoAway(now, last, error)
        if one.kind not in (frames.DATA, frames.HEADERS, frames.CONTINUATION, frames.RST_STREAM):
            return
        stream = self.streams.get(one.stream)
        if stream is None:
            raise BadAnswer(f"stream {one.stream} was not asked for")
        if stream.is_over and not (one.kind == frames.RST_STREAM and stream.reset_at is None):
            raise BadAnswer(f"frame {one.kind} behind the end of stream {one.stream}")
        match one.kind:
            case frames.HEADERS | frames.CONTINUATION:
                self._block += frames.fragment(one)
                if one.flags & END_HEADERS:
                    self._on_head(one.stream, stream, now)
            case frames.DATA:
                self._on_body(stream, one.payload)
            case frames.RST_STREAM:
                self._on_reset(stream, int.from_bytes(one.payload, "big"), now)
                return
        if one.flags & END_STREAM and stream.answer is not None:
            self._on_end(one.stream, stream.answer, now)
        self._note_room(now)

    def _on_head(self, number: int, stream: Stream, now: float) -> None:
        pairs = self._decoder.decode(self._block, raw=True)
        self._block = b""
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
        status = int(fields.pop(":status", "0"))
        if not 200 <= status <= 599 or stream.answer is not None:
            raise BadAnswer(f"a head with the status {status} on stream {number}")
        stream.answer = Answer(status, fields, now)
        stream.answer.head_at = now
        self._of[len(self.answers)] = number
        self.answers.append(stream.answer)

    def _on_body(self, stream: Stream, data: bytes) -> None:
        if stream.answer is None:
            raise BadAnswer("a body before its head")
        stream.answer.body += data
        stream.window -= len(data)
        self._window -= len(data)
        if data and (stream.window < 0 or self._window < 0):
            raise BadAnswer(f"{len(data)} bytes, and a window {min(stream.window, self._window)}")

    def _on_end(self, number: int, answer: Answer, now: float) -> None:
        answer.last_at = now
        self.completed.append(answer)
        length = answer.fields.get("content-length")
        if length is not None and number not in self.to_head and int(length) != len(answer.body):
            raise BadAnswer(f"{len(answer.body)} bytes of {length} on stream {number}")

    def _on_reset(self, stream: Stream, error: int, now: float) -> None:
        stream.reset_at, stream.reset = now, error
        if stream.answer is None:
            stream.answer = Answer(0, {}, now, last_at=now, reset=error)

    def _note_room(self, now: float) -> None:
        """Since when there is room for more of each answer that is not complete."""
        for stream in self.streams.values():
            answer = stream.answer
            if answer is None or stream.is_over:
                continue
            is_whole = len(answer.body) >= int(answer.fields.get("content-length", "0"))
            if is_whole or min(stream.window, self._window) > 0:
                answer.room_at = now if answer.room_at is None else answer.room_at
            else:
                answer.room_at = None
                answer.was_held = self.was_held = True
