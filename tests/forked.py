"""Starts `fanout` by a fork of a process that has imported it: 20 ms of processor time instead of 600.

    with running("serve", "--bind", "127.0.0.1:0") as program:    as `fanout.testing.running`

The fork is a process of its own, with its own arguments, environment and standard streams, and runs what
`python -m fanout` runs. Only the imports were done before. A test of the start itself, of what is imported,
of signals during imports, or of memory uses `fanout.testing.running`.

Rule 1: the process that forks has one thread and no event loop. It imports, forks, and reports exit codes.
Rule 2: it ends with the test process. The test ends what was forked.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from fanout.testing import Program

_ROOT: Final = Path(__file__).parent.parent
_MAX_ORDER_BYTES: Final = 200_000
_MAX_DESCRIPTORS: Final = 1024
_LEFT_OUT: Final = (
    "fanout.testing",
    "fanout.upstream.asyncio_call",
    # They import it.
    "fanout.lab.side_by_side.trio_asyncio_world",
    "fanout.lab.side_by_side.variants.bridge",
)


@contextmanager
def running(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Program]:
    """Run `fanout ARGUMENTS` until the block ends; enter it when the program has said that it is ready."""
    (output, its_output), (errors, its_errors) = os.pipe(), os.pipe()
    try:
        process = Forked(arguments, environment or {}, its_output, its_errors)
    finally:
        os.close(its_output)
        os.close(its_errors)
    process.stdout, process.stderr = os.fdopen(output, "rb", 0), os.fdopen(errors, "rb")
    program = Program(process)
    try:
        program.wait_until_ready()
        yield program
        if process.poll() is None:
            program.stop()
    finally:
        if process.poll() is None:
            program.kill()


def run(*arguments: str, within_s: float) -> subprocess.CompletedProcess[bytes]:
    """Run `fanout ARGUMENTS` to its end, without input. Raises `subprocess.TimeoutExpired`."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = Forked(arguments, {}, output.fileno(), errors.fileno())
        try:
            code = process.wait(within_s)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, code, output.read(), errors.read())


class Forked(subprocess.Popen[bytes]):
    """A started command, with the public interface of `Popen`. Another process is its parent."""

    def __init__(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], stdout: int, stderr: int
    ) -> None:
        """environment: added to this process's. stdout, stderr: descriptors; the test closes them."""
        self.args = ("fanout", *arguments)
        self.stdin = self.stdout = self.stderr = None
        self.returncode = None  # as `Popen` has it while the process runs
        self._lock = threading.Lock()
        order = {"arguments": arguments, "environment": {**os.environ, **environment}, "folder": os.getcwd()}
        reading, writing = os.pipe()
        self._reports = os.fdopen(reading, "rb", 0)  # the process id, then the exit code
        try:
            socket.send_fds(_forking_process(), [json.dumps(order).encode()], [stdout, stderr, writing])
        finally:
            os.close(writing)
        self.pid = self._next_report()

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._reports], [], [], 0)[0]:
                self.returncode = self._next_report()
                self._reports.close()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises `subprocess.TimeoutExpired`."""
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if give_up_at is not None and time.monotonic() > give_up_at:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.005)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and the report of that is on its way
                os.kill(self.pid, sig)

    def _next_report(self) -> int:
        line = self._reports.readline()
        assert line, "the process that forks has ended"
        return int(line)


@cache
def _forking_process() -> socket.socket:
    """Start it when it is first needed. Returns where orders go."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", str(its.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
            process_group=0,  # Ctrl-C is for the tests, which end what they started
            cwd=_ROOT,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _import_everything() -> None:
    """All that a command may import: without the test kit, which imports pytest, and the asyncio bridge."""
    import click

    import fanout
    from fanout.cli import cli

    for module in pkgutil.walk_packages(fanout.__path__, "fanout."):
        if not module.name.startswith(_LEFT_OUT) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in cli.list_commands(click.Context(cli)):
        cli.get_command(click.Context(cli), name)
    assert "trio_asyncio" not in sys.modules
    gc.freeze()
    assert threading.active_count() == 1


def _fork_as_ordered(orders: socket.socket) -> dict[str, Any] | None:
    """Return the order in the process that is to obey it; `None` in the first, when the orders have ended."""
    reports: dict[int, int] = {}  # by process id, where its exit code is to be written
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking)
    while True:
        ready, _, _ = select.select([orders.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report_who_ended(reports)
            continue
        order, descriptors, _, _ = socket.recv_fds(orders, _MAX_ORDER_BYTES, 3)
        if not order:
            return None
        stdout, stderr, report = descriptors
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            os.closerange(3, _MAX_DESCRIPTORS)
            orders.detach()
            told: dict[str, Any] = json.loads(order)
            return told
        reports[pid] = report
        os.write(report, b"%d\n" % pid)
        os.close(stdout)
        os.close(stderr)


def _report_who_ended(reports: dict[int, int]) -> None:
    for pid in list(reports):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            report = reports.pop(pid)
            os.write(report, b"%d\n" % os.waitstatus_to_exitcode(status))
            os.close(report)


def _main() -> None:
    _import_everything()
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        order = _fork_as_ordered(orders)
    if order is not None:
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
        sys.argv[1:] = order["arguments"]
        runpy.run_module("fanout", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
