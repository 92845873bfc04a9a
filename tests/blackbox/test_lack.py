"""A machine that has too little of something, and streams that take nothing: the server serves on."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from random import randint
from tempfile import TemporaryFile
from typing import IO, Any

import pytest

from fanout.testing import Program, running
from tests.blackbox.conftest import request

FREE = ("--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0")
WITHIN_S = 40
NOBODY = "http://127.0.0.1:1"  # by its number: to look a name up would start a thread that is used again
LOST = b"the ready lines are lost: standard output cannot be written"

# No thread from the start, or none from SIGUSR1 on; it is the interpreter's own call that fails.
NO_THREADS = """
import signal, sys, threading
def fail(*_, **__):
    raise RuntimeError("can't start new thread")
def from_now_on(*_):
    threading._start_new_thread = threading._start_joinable_thread = fail
if {at_once}:
    from_now_on()
signal.signal(signal.SIGUSR1, from_now_on)
from fanout.__main__ import main
main()
"""


@contextmanager
def without_threads(*arguments: str, at_once: bool, **environment: str) -> Iterator[Program]:
    process = subprocess.Popen(
        [sys.executable, "-c", NO_THREADS.format(at_once=at_once), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    program = Program(process)
    try:
        program.wait_until_ready()
        yield program
    finally:
        if process.poll() is None:
            program.kill()


def test_a_server_that_cannot_start_a_thread_serves() -> None:
    """G10, G12: the log waits, there are no traces, and every request is answered."""
    with without_threads("demo", *FREE, "--reliable", at_once=True, OTEL_TRACES_EXPORTER="otlp") as program:
        assert request(program.urls["api"], "/api/all?timeout=3000").status == 200
        assert program.stop() == 0
    (entry,) = map(json.loads, program.errors.splitlines())
    assert entry["message"] == "no thread can be started: the log waits until there is one"


def test_many_clients_of_the_page_that_no_thread_can_start_are_no_reason_to_end() -> None:
    """G10, tenet 2: the demo starts a process for them, and that takes a thread."""
    with without_threads("demo", *FREE, "--reliable", at_once=True) as program:
        order = {"endpoint": "first", "count": 101, "over_ms": 0, "timeout_ms": 1000}
        fired = request(
            program.urls["admin"],
            "/live/control/fire",
            method="POST",
            document=order,
            headers={"X-Fanout-Live": "1", "Content-Type": "application/json"},
        )
        assert fired.status == 200, fired
        assert request(program.urls["api"], "/api/all?timeout=3000").status == 200
        assert program.stop() == 0


def test_spans_that_no_thread_can_send_are_named_and_the_exit_is_in_order() -> None:
    """G9, G12: closing the exporter needs a thread, and does without."""
    with without_threads(
        "demo", *FREE, "--reliable", at_once=False, OTEL_EXPORTER_OTLP_ENDPOINT=NOBODY
    ) as program:
        program.process.send_signal(signal.SIGUSR1)
        assert request(program.urls["api"], "/api/all?timeout=3000").status == 200
        assert program.stop() == 0
    entries = [json.loads(line) for line in program.errors.splitlines()]
    assert any(entry["message"] == "can't start new thread: 3 spans were not sent" for entry in entries), (
        entries
    )


def own_address() -> str:
    """A loopback address that nobody else uses: a free port of 127.0.0.1 may be taken a moment later."""
    return "127." + ".".join(str(randint(1, 254)) for _ in range(3)) + ":8081"


def wait_for(address: str, target: str) -> None:
    """Until the server answers with 200: it cannot say that it is ready."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        with suppress(OSError, HTTPException):
            if request(f"http://{address}", target).status == 200:
                return
        time.sleep(0.05)
    pytest.fail(f"no {target} within {WITHIN_S} s")


@pytest.mark.parametrize(
    ("command", "stdout"),
    [
        ("serve", "a pipe without a reader"),
        ("serve --workers 2", "/dev/full"),
        ("demo", "a pipe without a reader"),
        ("upstream", "/dev/full"),
        pytest.param("serve", "/dev/full", marks=pytest.mark.long),
        pytest.param("serve --workers 2", "a pipe without a reader", marks=pytest.mark.long),
        pytest.param("demo", "/dev/full", marks=pytest.mark.long),
        pytest.param("upstream", "a pipe without a reader", marks=pytest.mark.long),
    ],
)
def test_a_server_whose_ready_lines_cannot_be_printed_serves_on(command: str, stdout: str) -> None:
    """G10: what becomes of the output is one warning."""
    address = own_address()
    bind = "--bind" if command == "upstream" else "--admin-bind"
    others = () if command == "upstream" else ("--bind", "127.0.0.1:0")
    if stdout == "/dev/full":
        output = os.open(stdout, os.O_WRONLY)
    else:
        reading, output = os.pipe()
        os.close(reading)
    with TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "fanout", *command.split(), bind, address, *others],
            stdout=output,
            stderr=errors,
        )
        os.close(output)
        try:
            wait_for(address, "/calls" if command == "upstream" else "/readyz")
            wait_for_text(errors, LOST)  # a parent says it when all of its workers are ready
            assert process.poll() is None
            process.terminate()
            assert process.wait(WITHIN_S) == 0
        finally:
            process.kill()
            process.wait()
        said = os.pread(errors.fileno(), 1_000_000, 0)
    assert b"Traceback" not in said
    assert said.count(LOST) == 1


def wait_for_text(file: IO[bytes], text: bytes) -> None:
    deadline = time.monotonic() + WITHIN_S
    while text not in os.pread(file.fileno(), 1_000_000, 0):
        assert time.monotonic() < deadline, text
        time.sleep(0.02)


@pytest.mark.timeout(120)  # two thousand requests, on a busy machine
def test_a_worker_without_memory_may_end_and_another_takes_its_place() -> None:
    """G10, G11, their limit: at the limit of memory Trio's loop, or the interpreter, can end the process.

    It has no more than 256 KiB to go. Whatever becomes of it, the service answers before and after.
    """
    arguments = (
        "serve",
        *FREE,
        "--workers",
        "2",
        "--log-requests",
        "none",
        "--upstream",
        "http://127.0.0.1:1/",
    )
    with running(*arguments) as program, ThreadPoolExecutor(60) as threads:
        deadline = time.monotonic() + WITHIN_S

        def logged(part: str) -> list[dict[str, Any]]:
            whole = [line for line in program.errors.split(b"\n")[:-1] if line.startswith(b"{")]
            return [entry for entry in map(json.loads, whole) if part in entry["message"]]

        def ask(_: int) -> int | None:
            with suppress(OSError, HTTPException):
                return request(program.urls["api"], "/api/first?timeout=1000").status
            return None

        while len(logged("is ready")) < 2:
            time.sleep(0.01)
        starved: int = next(entry["pid"] for entry in logged("is ready") if entry["worker"] == 0)
        status = Path(f"/proc/{starved}/status").read_text()
        used = int(re.findall(r"VmSize:\s+(\d+)", status)[0]) * 1024
        resource.prlimit(starved, resource.RLIMIT_AS, (used + 2**18, used + 2**18))
        for _ in range(20):
            list(threads.map(ask, range(60)))
            if logged("another one starts"):
                break
        for admin in (program.urls["admin"], program.urls["admin-1"]):
            while time.monotonic() < deadline and not is_ready(admin):
                time.sleep(0.05)
            assert is_ready(admin) or Path(f"/proc/{starved}").exists()
        assert ask(0) in (500, 503)  # there is no upstream
        assert program.stop() in (0, 3)


def test_the_demo_has_two_threads_before_during_and_after_a_load() -> None:
    """G12: exactly as many as docs/guarantees.md shows. One is the event loop, the other writes the log."""
    with (
        running("demo", *FREE, "--reliable", "--min-delay-ms", "200") as program,
        ThreadPoolExecutor(8) as clients,
    ):
        tasks = Path(f"/proc/{program.process.pid}/task")

        def counted() -> int:
            return len(list(tasks.iterdir()))

        while counted() < 2:  # the log's begins with the first line
            time.sleep(0.01)
        asked = [clients.submit(request, program.urls["api"], "/api/first") for _ in range(8)]
        during = {counted()}
        while not all(future.done() for future in asked):
            during.add(counted())
            time.sleep(0.01)
        assert [future.result().status for future in asked] == [200] * 8
        assert during | {counted()} == {2}


def is_ready(admin: str) -> bool:
    with suppress(OSError, HTTPException):
        return request(admin, "/readyz").status == 200
    return False
