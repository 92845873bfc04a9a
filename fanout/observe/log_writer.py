"""The one thread that writes the logs, and the queue to it.

Rule 1: `put` never waits, whatever the sink does. What does not fit into the queue is dropped and counted.
Rule 2: lines are made in the thread, a few at a time. Writing them lets go of the interpreter, so the event
        loop waits for a batch at most, which takes a fraction of a millisecond.
Rule 3: only `close` ends the thread. An exception of a line or of the sink drops a batch, which is counted.
        When no thread can be started, the lines wait, and the next `put` after a second tries again.
Rule 4: the end is bounded. `close` waits for the queue for a limited time, and `write_within` for the pipe. A
        thread that is stuck in a full pipe does not keep the process alive.
"""

from __future__ import annotations

import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TextIO, TypeVar

T = TypeVar("T")

MAX_LINES: Final = 10_000  # ten seconds of a busy process; about 25 MB of receipts
_BATCH: Final = 16
LAST_LINES_S: Final = 1  # what the exit of a process waits for a log that nobody reads
_START_AGAIN_S: Final = 1.0
_LOOK_AGAIN_S: Final = 1.0  # though nobody woke the thread: to wake it needs memory
_REST_S: Final = 0.2  # between two looks at the queue: what costs is to wake the thread, not to write a line


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """Lines. written: to the sink. dropped: did not fit, or the sink failed. waiting: in the queue."""

    written: int
    dropped: int
    waiting: int


class LogWriter:
    """Writes lines with `write`, in its own thread, from now until `close`."""

    def __init__(self, write: Callable[[str], object], *, max_lines: int = MAX_LINES) -> None:
        """write: may block. It may also raise, which drops its lines."""
        self._write = write
        self._max_lines = max_lines
        self._lines: deque[tuple[Callable[[Any], str], Any]] = deque()
        self._written = self._dropped = 0
        self._drop_lock = threading.Lock()  # held for an addition, never while anything waits
        self._start_lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._start_again_at = 0.0
        self._start_thread()

    @property
    def has_thread(self) -> bool:
        return self._thread is not None

    def put(self, make_line: Callable[[T], str], item: T) -> None:
        """Have `make_line(item)` written, which ends with a line break. From any thread; never waits.

        make_line: called in the writer's thread. It must not log.
        """
        if len(self._lines) >= self._max_lines or self._closing.is_set():
            self._drop(1)
            return
        try:
            self._lines.append((make_line, item))
        except MemoryError:
            self._drop(1)
            return
        if not self._wake.is_set():
            with suppress(MemoryError):  # the thread looks by itself within a second
                self._wake.set()
        if self._thread is None:
            self._start_thread()

    def close(self, within_s: float = LAST_LINES_S) -> None:
        """Write what is in the queue, for at most `within_s`, and stop. Later lines are dropped."""
        self._start_again_at = 0.0
        self._start_thread()
        for event in (self._closing, self._wake):
            with suppress(MemoryError):  # it is set all the same, or the thread is given up below
                event.set()
        if self._thread is not None:
            self._thread.join(within_s)
        else:
            self._drop(len(self._lines))
            self._lines.clear()

    def statistics(self) -> LogStatistics:
        return LogStatistics(self._written, self._dropped, len(self._lines))

    def _drop(self, lines: int) -> None:
        with self._drop_lock:
            self._dropped += lines

    def _start_thread(self) -> None:
        now = time.monotonic()  # noqa: TID251 - not in the event loop
        if self._thread is not None or now < self._start_again_at:
            return
        if not self._start_lock.acquire(blocking=False):
            return  # another thread is at it
        try:
            if self.has_thread:
                return  # another thread was faster
            thread = threading.Thread(target=self._run, name="fanout-log-writer", daemon=True)
            thread.start()
            self._thread = thread
        except (RuntimeError, MemoryError):  # `can't start new thread`
            self._start_again_at = now + _START_AGAIN_S
        finally:
            self._start_lock.release()

    def _run(self) -> None:
        while True:
            try:
                if self._lines:
                    while self._lines:
                        self._write_some()
                    self._closing.wait(_REST_S)
                elif self._closing.is_set():
                    return
                else:
                    self._wake.wait(_LOOK_AGAIN_S)
                    self._wake.clear()
            except BaseException:  # noqa: BLE001 - rule 3: a `MemoryError` of one of these lines
                time.sleep(_REST_S)  # noqa: TID251 - a thread of its own

    def _write_some(self) -> None:
        batch: list[tuple[Callable[[Any], str], Any]] = []
        try:
            while self._lines and len(batch) < _BATCH:
                batch.append(self._lines[0])  # before the pop: a `MemoryError` loses none uncounted
                self._lines.popleft()
            self._write("".join([_line(make, item) for make, item in batch]))
            self._written += len(batch)
        except BaseException:  # noqa: BLE001 - rule 3
            self._drop(len(batch))


def _line(make: Callable[[Any], str], item: Any) -> str:
    try:
        return make(item)
    except Exception as bug:  # noqa: BLE001 - it must not end the thread, and cannot be logged from here
        return f"a log line could not be made: {bug!r}\n"


def write_within(stream: TextIO, text: str, within_s: float = LAST_LINES_S) -> None:
    """Write a last text, for at most so long. It needs no thread. What a full pipe does not take is lost."""
    try:
        descriptor = stream.fileno()
    except (AttributeError, io.UnsupportedOperation):  # not a file, as in a test
        stream.write(text)
        return
    data = text.encode("utf-8", "backslashreplace")
    now = time.monotonic  # noqa: TID251 - the process is ending, and Trio's run may be over
    until = now() + within_s
    while data:
        left_s = until - now()
        if left_s <= 0 or not select.select([], [descriptor], [], left_s)[1]:
            return
        with suppress(BlockingIOError):
            data = data[os.write(descriptor, data[: select.PIPE_BUF]) :]  # select promises room for that


def sink_of(stream: TextIO) -> Callable[[str], None]:
    """How to write to `stream` from a thread that may be stuck in it when the interpreter ends.

    Straight to the descriptor, if there is one: a thread that waits while it holds the lock of the stream's
    buffer keeps the interpreter from flushing that, and so from ending in order.
    """
    try:
        descriptor = stream.fileno()
    except (AttributeError, io.UnsupportedOperation):  # not a file, as in a test

        def write_text(text: str) -> None:
            stream.write(text)
            stream.flush()

        return write_text

    def write_bytes(text: str) -> None:
        data, at = text.encode("utf-8", "backslashreplace"), 0
        while at < len(data):
            # Whole lines, and no more than are written in one piece: the processes of a server share a pipe.
            end = data.rfind(b"\n", at, at + select.PIPE_BUF) + 1 or data.find(b"\n", at) + 1 or len(data)
            try:
                at += os.write(descriptor, data[at:end])
            except BlockingIOError:  # another process that shares it has made it so
                select.select([], [descriptor], [])

    return write_bytes
