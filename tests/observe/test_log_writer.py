"""The writer of the logs: nobody who logs ever waits for it, and what is lost is counted."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from fanout.observe import log_writer as log_writer_module
from fanout.observe.log_writer import LogWriter, sink_of, write_within

PROMPTLY_S = 5.0  # generous; what is waited for takes milliseconds


class Gate:
    """A sink that is stuck until it is opened."""

    def __init__(self) -> None:
        self.text = ""
        self.reached = threading.Event()
        self.opened = threading.Event()

    def write(self, text: str) -> None:
        self.reached.set()
        assert self.opened.wait(PROMPTLY_S)
        self.text += text


def line(number: int) -> str:
    return f"{number}\n"


def threading_with(**others: object) -> SimpleNamespace:
    """The module, with some names replaced for the writer alone."""
    return SimpleNamespace(**{**vars(threading), **others})


def seconds_for(work: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    work()
    return time.perf_counter() - began_at


def test_lines_are_written_in_order() -> None:
    stream = io.StringIO()
    writer = LogWriter(sink_of(stream))
    for number in range(1000):
        writer.put(line, number)
    writer.close(PROMPTLY_S)
    assert stream.getvalue() == "".join(map(line, range(1000)))
    assert (writer.statistics().written, writer.statistics().dropped) == (1000, 0)


def test_lines_are_made_in_the_writers_thread() -> None:
    """What a line costs is not the event loop's to pay."""
    threads: list[str] = []

    def make(_: None) -> str:
        threads.append(threading.current_thread().name)
        return ""

    writer = LogWriter(lambda text: None)
    writer.put(make, None)
    writer.close(PROMPTLY_S)
    assert threads == ["fanout-log-writer"]


def test_a_line_is_written_soon_without_a_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """It wakes the thread, which would otherwise look at the queue by itself only later."""
    monkeypatch.setattr(log_writer_module, "_LOOK_AGAIN_S", 10 * PROMPTLY_S)
    gate = Gate()
    writer = LogWriter(gate.write)
    writer.put(line, 1)
    assert gate.reached.wait(PROMPTLY_S)
    gate.opened.set()
    writer.close(PROMPTLY_S)


class NotedEvent(threading.Event):
    """It notes for how long the writer's thread waits, before that."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = list[float | None]()

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return super().wait(timeout)


def noting_waits(write: Callable[[str], object]) -> tuple[LogWriter, NotedEvent, NotedEvent]:
    """A writer, and the two events: the one that wakes its thread, and the one that closes it."""
    wake, closing = NotedEvent(), NotedEvent()
    events = [wake, closing]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_writer_module, "threading", threading_with(Event=lambda: events.pop(0)))
        return LogWriter(write), wake, closing


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PROMPTLY_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_thread_rests_between_two_looks_at_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """To wake it for each line costs more than the lines. A close does not wait for the end of the rest."""
    assert log_writer_module._REST_S == 0.2  # a line is no older when it is written
    monkeypatch.setattr(log_writer_module, "_REST_S", 10 * PROMPTLY_S)
    gate = Gate()
    gate.opened.set()
    writer, _, closing = noting_waits(gate.write)
    writer.put(line, 1)
    until(lambda: closing.waits == [10 * PROMPTLY_S])
    writer.put(line, 2)
    time.sleep(0.05)
    assert gate.text == "1\n"
    writer.close(PROMPTLY_S)
    assert gate.text == "1\n2\n"


def test_a_thread_without_lines_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an idle machine, to wake costs more than to write a line. So it wakes once a second, and no more."""
    monkeypatch.setattr(log_writer_module, "_LOOK_AGAIN_S", 0.02)
    writer, wake, closing = noting_waits(io.StringIO().write)
    until(lambda: len(wake.waits) >= 3)
    writer.close(PROMPTLY_S)
    assert (set(wake.waits), closing.waits) == ({0.02}, [])


def test_a_stuck_sink_drops_and_counts_and_nobody_waits() -> None:
    gate = Gate()
    writer = LogWriter(gate.write, max_lines=10)
    writer.put(line, 0)
    assert gate.reached.wait(PROMPTLY_S)

    def put_many() -> None:
        for number in range(1, 101):
            writer.put(line, number)

    assert seconds_for(put_many) < 0.5
    statistics = writer.statistics()
    assert (statistics.waiting, statistics.dropped, statistics.written) == (10, 90, 0)
    gate.opened.set()
    writer.close(PROMPTLY_S)
    assert gate.text == "".join(map(line, range(11)))


def test_a_stuck_sink_does_not_hold_up_the_end() -> None:
    gate = Gate()
    writer = LogWriter(gate.write)
    writer.put(line, 0)
    assert gate.reached.wait(PROMPTLY_S)
    assert seconds_for(lambda: writer.close(0.05)) < 1
    writer.put(line, 1)
    assert writer.statistics().dropped == 1
    gate.opened.set()


def test_a_stuck_sink_has_a_second_at_the_end() -> None:
    gate = Gate()
    writer = LogWriter(gate.write)
    writer.put(line, 0)
    assert gate.reached.wait(PROMPTLY_S)
    assert 0.9 < seconds_for(writer.close) < 1.9
    gate.opened.set()


def test_a_full_pipe_is_a_stuck_sink_and_its_reader_gets_whole_lines() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    stream = os.fdopen(writing, "w")
    writer = LogWriter(sink_of(stream), max_lines=100)
    said = "x" * 999 + "\n"
    for _ in range(1000):
        writer.put(str, said)
    assert writer.statistics().dropped >= 800  # a pipe, a batch and a queue hold the others

    def end() -> None:
        writer.close(PROMPTLY_S)
        stream.close()

    closer = threading.Thread(target=end)
    closer.start()
    received = b""
    while chunk := os.read(reading, 65536):  # to the end, which only the closed stream is: counts come later
        received += chunk
    closer.join()
    os.close(reading)
    statistics = writer.statistics()
    assert (statistics.written + statistics.dropped, statistics.waiting) == (1000, 0)
    assert received.decode() == said * statistics.written


def test_processes_that_share_a_full_pipe_do_not_tear_each_others_lines() -> None:
    """As the workers of a server do, whose log is read too slowly."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb", buffering=0) as pipe:
        write = sink_of(pipe)  # type: ignore[arg-type]  # an object with a descriptor is enough: `sink_of` uses nothing else
        batches = [f"{letter * 499}\n" * 20 for letter in "abcd"]
        threads = [
            threading.Thread(target=lambda batch=batch: [write(batch) for _ in range(20)])
            for batch in batches
        ]
        for thread in threads:
            thread.start()
        data = b""
        while data.count(b"\n") < 4 * 20 * 20:
            data += os.read(read_end, 3000)
        for thread in threads:
            thread.join()
    os.close(read_end)
    assert {line for line in data.decode().split("\n") if line} == {batch[:499] for batch in batches}


def test_a_sink_that_others_have_made_non_blocking_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again when there is room, and not all the time."""
    refused, refused_again = threading.Event(), threading.Event()
    real_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        try:
            return real_write(descriptor, data)
        except BlockingIOError:
            (refused_again if refused.is_set() else refused).set()
            raise

    monkeypatch.setattr(os, "write", write)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(writing, "w") as stream:
        writer = LogWriter(sink_of(stream))
        writer.put(str, "y" * 20_000)
        assert refused.wait(PROMPTLY_S)
        assert not refused_again.wait(0.1)
        received = b""
        while len(received) < 20_000:
            received += os.read(reading, 65536)
        writer.close(PROMPTLY_S)
    os.close(reading)
    assert writer.statistics().dropped == 0


def test_a_sink_that_is_gone_drops_and_counts() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        writer = LogWriter(sink_of(stream))
        writer.put(line, 1)
        writer.close(PROMPTLY_S)
    assert (writer.statistics().written, writer.statistics().dropped) == (0, 1)


def test_a_line_that_cannot_be_made_does_not_end_the_thread() -> None:
    def make(_: None) -> str:
        raise ZeroDivisionError("no line")

    stream = io.StringIO()
    writer = LogWriter(sink_of(stream))
    writer.put(make, None)
    writer.put(line, 2)
    writer.close(PROMPTLY_S)
    assert stream.getvalue() == "a log line could not be made: ZeroDivisionError('no line')\n2\n"


@pytest.mark.parametrize(
    "last", ["", "report_crash('the server has crashed', RuntimeError('x' * 100_000))\n"]
)
def test_a_process_whose_log_is_a_full_pipe_ends_all_the_same(last: str) -> None:
    """In order, with its own exit code, after the second that the log is given, and one for a crash."""
    code = (
        "from loguru import logger\n"
        "from fanout.observe.log import configure_logging, report_crash\n"
        "configure_logging('info', 'json')\n"
        f"for _ in range(2000): logger.info('x' * 200)\n{last}"
        "raise SystemExit(7)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as process:
        assert process.wait(20) == 7  # nobody has read
        assert process.stderr is not None
        assert b"Fatal" not in process.stderr.read()


def test_a_last_text_goes_into_a_pipe_as_long_as_somebody_reads() -> None:
    """However long it is, and also if another process has made the pipe one that does not wait."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    told = "".join(f"line {number}\n" for number in range(20_000))
    read: list[bytes] = []

    def reader() -> None:
        while data := os.read(reading, 65_536):
            read.append(data)

    thread = threading.Thread(target=reader)
    thread.start()
    with os.fdopen(writing, "w") as stream:
        write_within(stream, told, PROMPTLY_S)
    thread.join()
    os.close(reading)
    assert b"".join(read).decode() == told


def test_of_a_last_text_a_full_pipe_loses_what_it_does_not_take_in_time() -> None:
    reading, writing = os.pipe()
    taken = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
    os.write(writing, bytes(taken))
    began_at = time.monotonic()
    with os.fdopen(writing, "w") as stream:
        write_within(stream, "never read", 0.1)
    assert 0.1 <= time.monotonic() - began_at < PROMPTLY_S
    assert len(os.read(reading, 2 * taken)) == taken
    os.close(reading)


def test_a_last_text_has_a_second_and_may_be_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what is not UTF-8, and if the kernel takes nothing although it has said that it would."""
    asked: list[float] = []
    write, failures = os.write, [BlockingIOError()]

    def ready(read: object, descriptors: list[int], odd: object, within_s: float) -> tuple[list[int], ...]:
        asked.append(within_s)
        return [], descriptors, []

    def write_later(descriptor: int, data: bytes) -> int:
        if failures:
            raise failures.pop()
        return write(descriptor, data)

    monkeypatch.setattr("select.select", ready)
    monkeypatch.setattr("os.write", write_later)
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        write_within(stream, "odd: \udc80\n")
    assert os.read(reading, 100) == b"odd: \\udc80\n"
    os.close(reading)
    assert len(asked) == 2
    assert all(0.5 < within_s <= 1.0 for within_s in asked)


@pytest.mark.parametrize(
    "failure", [MemoryError(), ZeroDivisionError(), SystemExit(1), UnicodeError("no")], ids=repr
)
def test_whatever_the_sink_raises_drops_a_batch_and_the_next_is_written(failure: BaseException) -> None:
    """G12: the thread that writes the log survives everything, and what is lost is counted."""
    written: list[str] = []
    failed = threading.Event()

    def write(text: str) -> None:
        if not failed.is_set():
            failed.set()
            raise failure
        written.append(text)

    writer = LogWriter(write)
    writer.put(line, 1)
    assert failed.wait(PROMPTLY_S)
    writer.put(line, 2)
    writer.close(PROMPTLY_S)
    statistics = writer.statistics()
    assert (written, statistics.written, statistics.dropped, statistics.waiting) == (["2\n"], 1, 1, 0)


def test_each_line_of_a_batch_that_the_sink_did_not_take_is_counted() -> None:
    gate = Gate()
    writer = LogWriter(gate.write)
    writer.put(line, 0)
    assert gate.reached.wait(PROMPTLY_S)
    for number in range(1, 41):
        writer.put(line, number)

    def fail(_: str) -> None:
        raise OSError

    writer._write = fail
    gate.opened.set()
    writer.close(PROMPTLY_S)
    statistics = writer.statistics()
    assert (gate.text, statistics.written, statistics.dropped, statistics.waiting) == ("0\n", 1, 40, 0)


def no_thread(*_: object, **__: object) -> None:
    raise RuntimeError("can't start new thread")


def test_without_a_thread_lines_wait_for_one_and_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """G12: nobody who logs fails or waits because the machine has no thread left."""
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)  # the close tries at once, however early that is
    stream = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        writer = LogWriter(sink_of(stream))
        writer.put(line, 1)
        assert not writer.has_thread
        assert writer.statistics().waiting == 1
    writer.close(PROMPTLY_S)
    assert stream.getvalue() == "1\n"


def test_lines_for_which_there_never_was_a_thread_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    writer = LogWriter(io.StringIO().write)
    writer.put(line, 1)
    writer.close(PROMPTLY_S)
    assert (writer.statistics().dropped, writer.statistics().waiting) == (1, 0)


def test_a_queue_is_full_at_its_limit_and_not_before() -> None:
    gate = Gate()
    writer = LogWriter(gate.write, max_lines=3)
    writer.put(line, 0)
    assert gate.reached.wait(PROMPTLY_S)
    counts = []
    for number in range(5):
        writer.put(line, number)
        statistics = writer.statistics()
        counts.append((statistics.waiting, statistics.dropped))
    assert counts == [(1, 0), (2, 0), (3, 0), (3, 1), (3, 2)]
    gate.opened.set()
    writer.close(PROMPTLY_S)


def test_lines_are_written_a_few_at_a_time() -> None:
    """Rule 2: the event loop waits for a batch at most."""
    gate, batches = Gate(), list[int]()

    def write(text: str) -> None:
        batches.append(text.count("\n"))
        gate.write(text)

    writer = LogWriter(write)
    writer.put(line, 0)
    assert gate.reached.wait(PROMPTLY_S)
    for number in range(40):
        writer.put(line, number)
    gate.opened.set()
    writer.close(PROMPTLY_S)
    assert batches == [1, 16, 16, 8]


def test_a_thread_that_could_not_be_started_is_tried_again_after_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not for each line: to fail costs more than a line."""
    now, tries = 0.0, list[float]()  # the machine has just been started

    def start(thread: threading.Thread) -> None:
        tries.append(now)
        raise RuntimeError("can't start new thread")

    stream = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        patched.setattr(time, "monotonic", lambda: now)
        writer = LogWriter(sink_of(stream))
        for later in (0.0, 0.5, 0.999, 1.0, 1.5, 2.0):
            now = later
            writer.put(line, 1)
    assert tries == [0.0, 1.0, 2.0]
    assert writer.statistics().waiting == 6
    writer.close(PROMPTLY_S)  # which tries at once
    assert stream.getvalue() == "1\n" * 6


def test_while_one_starts_the_thread_no_other_starts_a_second_or_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that has hardly a thread left may take its time to start one."""
    now, starts, started = 0.0, list[threading.Thread](), list[threading.Thread]()
    starting, go_on = threading.Event(), threading.Event()
    real_start = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "fanout-log-writer":
            starts.append(thread)
            starting.set()
            go_on.wait(0.5)
            started.append(thread)
        real_start(thread)

    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        writer = LogWriter(sink_of(stream))
    now = 1.0
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        first = threading.Thread(target=lambda: writer.put(line, 1))
        first.start()
        assert starting.wait(PROMPTLY_S)
        writer.put(line, 2)
        assert (len(starts), started) == (1, [])
        go_on.set()
        first.join()
    writer.close(PROMPTLY_S)
    assert stream.getvalue() == "1\n2\n"


def test_who_comes_between_the_look_and_the_lock_starts_no_second_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two threads would write the lines out of order, and `close` would wait for one of them."""
    now, faster = 0.0, list[Callable[[], None]]()

    class Lock:
        def __init__(self) -> None:
            self._lock = threading.Lock()

        def acquire(self, blocking: bool = True) -> bool:
            while faster:
                faster.pop()()
            return self._lock.acquire(blocking)

        def release(self) -> None:
            self._lock.release()

    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(log_writer_module, "threading", threading_with(Lock=Lock))
        patched.setattr(threading.Thread, "start", no_thread)
        writer = LogWriter(sink_of(stream))
    now = 1.0
    before = {*threading.enumerate()}
    faster.append(lambda: writer.put(line, 1))
    writer.put(line, 2)
    writers = {*threading.enumerate()} - before
    writer.close(PROMPTLY_S)
    assert [each.name for each in writers] == ["fanout-log-writer"]
    assert sorted(stream.getvalue().splitlines()) == ["1", "2"]


@pytest.mark.parametrize("is_half_set", [False, True])
def test_a_line_whose_thread_cannot_be_woken_is_written_all_the_same(
    is_half_set: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G12: to wake the thread needs memory too, and may fail before or behind the flag. No line is lost."""
    quiet = threading.Event()

    class Asleep(threading.Event):
        was_set = False

        def set(self) -> None:
            self.was_set = is_half_set
            raise MemoryError

        def is_set(self) -> bool:
            return self.was_set or super().is_set()

        def clear(self) -> None:
            self.was_set = False

        def wait(self, timeout: float | None = None) -> bool:
            return quiet.wait(timeout)

    written, text = threading.Event(), list[str]()

    def write(line: str) -> None:
        text.append(line)
        written.set()

    monkeypatch.setattr(log_writer_module, "_REST_S", 0.01)
    assert log_writer_module._LOOK_AGAIN_S == 1.0  # Rule 3's second
    monkeypatch.setattr(log_writer_module, "_LOOK_AGAIN_S", 0.05)
    events: list[threading.Event] = [Asleep(), threading.Event()]  # to wake, and to close
    with monkeypatch.context() as patched:
        patched.setattr(log_writer_module, "threading", threading_with(Event=lambda: events.pop(0)))
        writer = LogWriter(write)
    time.sleep(0.02)  # until the thread waits to be woken
    writer.put(line, 1)
    assert written.wait(PROMPTLY_S)
    assert (text, writer.statistics().dropped) == (["1\n"], 0)
    writer.close(PROMPTLY_S)


def test_a_thread_that_never_had_a_line_ends_with_the_close() -> None:
    before = {*threading.enumerate()}
    writer = LogWriter(io.StringIO().write)
    (thread,) = {*threading.enumerate()} - before
    writer.close(PROMPTLY_S)
    assert not thread.is_alive()


def test_a_line_for_which_there_is_no_memory_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """G12: it costs who logs nothing else."""

    class Full(deque[object]):
        def append(self, item: object) -> None:
            raise MemoryError

    monkeypatch.setattr(log_writer_module, "deque", Full)
    writer = LogWriter(io.StringIO().write)
    writer.put(line, 1)
    statistics = writer.statistics()
    assert (statistics.dropped, statistics.waiting) == (1, 0)
    writer.close(PROMPTLY_S)


def test_the_thread_is_one_and_does_not_keep_the_process() -> None:
    writer = LogWriter(lambda text: None)
    (thread,) = [
        each for each in threading.enumerate() if each.name == "fanout-log-writer" and each.is_alive()
    ][-1:]
    assert (thread.daemon, writer.has_thread) == (True, True)
    for _ in range(100):
        writer.put(line, 1)
    assert sum(each is thread for each in threading.enumerate()) == 1
    writer.close(PROMPTLY_S)
    assert not thread.is_alive()


def test_what_is_no_file_is_written_and_flushed() -> None:
    class Stream(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    stream = Stream()
    sink_of(stream)("text\n")
    assert (stream.getvalue(), stream.flushed) == ("text\n", 1)


def test_what_no_encoding_knows_is_written_as_a_code() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        sink_of(stream)("ä \ud800\n")
    assert os.read(reading, 100) == b"\xc3\xa4 \\ud800\n"
    os.close(reading)


def test_lines_longer_than_a_pipe_takes_at_once_are_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole lines where they fit, and a long one by itself."""
    pieces: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        pieces.append(bytes(data))
        return len(data)

    with open(os.devnull, "w") as stream:
        sink = sink_of(stream)
        monkeypatch.setattr(os, "write", write)
        short, long = "s" * 999 + "\n", "l" * 9000 + "\n"
        sink(short * 5 + long + short + "no end")
    assert [len(piece) for piece in pieces] == [4000, 1000, 9001, 1000, 6]
    assert b"".join(pieces) == (short * 5 + long + short + "no end").encode()


def test_the_thread_survives_what_it_cannot_even_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 3: a machine without memory. The lines are not lost."""
    stream, failures = io.StringIO(), [MemoryError(), MemoryError()]
    write_some = LogWriter._write_some

    def fail_first(writer: LogWriter) -> None:
        if failures:
            raise failures.pop()
        write_some(writer)

    monkeypatch.setattr(LogWriter, "_write_some", fail_first)
    writer = LogWriter(sink_of(stream))
    writer.put(line, 1)
    writer.close(PROMPTLY_S)
    assert (stream.getvalue(), failures) == ("1\n", [])
