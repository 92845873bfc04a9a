"""The real program, as a user starts it: a process of its own, real sockets, real signals, free ports.

Nothing here needs an event loop, so a fixture of any scope can boot it and any kind of test can use it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Final

READY_WITHIN_S: Final = 30
END_WITHIN_S: Final = 35
_READY: Final = b'"message":"ready"'


class Program:
    """A running `fanout …`, whose streams are pipes. `urls`: scheme, host and port of its URLs, by name.

    They are those of its ready event, see `fanout.process.ready`.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.urls: dict[str, str] = {}
        self.output = b""
        self.errors = b""
        self._ready_or_ended = threading.Event()
        self._readers = [
            threading.Thread(target=self._read_output, args=[process.stdout], daemon=True),
            threading.Thread(target=self._read_errors, args=[process.stderr], daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def wait_until_ready(self, within_s: float = READY_WITHIN_S) -> None:
        """Raises `RuntimeError`, with what the program printed, when it does not become ready."""
        self._ready_or_ended.wait(within_s)
        if not self.urls:
            self.kill()
            said = (self.output + self.errors).decode(errors="replace")
            raise RuntimeError(f"{self.process.args!r} did not become ready: {said}")

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, return the exit code. Raises `subprocess.TimeoutExpired`."""
        self.process.send_signal(signal_number)
        code = self.process.wait(END_WITHIN_S)
        self._close()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        """Read what is left, then let go of the pipes."""
        for reader, pipe in zip(self._readers, (self.process.stdout, self.process.stderr), strict=True):
            reader.join()
            if pipe is not None:
                pipe.close()

    def _read_output(self, pipe: IO[bytes]) -> None:
        while chunk := os.read(pipe.fileno(), 65536):  # the program writes its ready lines at once
            self.output += chunk
            if not self.urls and self.output.endswith(b"\n"):
                for line in self.output.splitlines():
                    if _READY in line:
                        self._take_urls(json.loads(line))
        self._ready_or_ended.set()

    def _take_urls(self, event: Mapping[str, str]) -> None:
        for name, value in event.items():
            if value.startswith(("http://", "https://")):
                self.urls[name] = "/".join(value.split("/")[:3])
        self._ready_or_ended.set()

    def _read_errors(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.errors += line


@contextmanager
def running(*arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Program]:
    """Run `fanout ARGUMENTS` until the block ends; enter it when the program has said that it is ready.

    Use port 0 for its listeners. `environment` is added to this process's. A program that is still
    running after the block is stopped by SIGTERM, and killed if that fails.
    """
    program = started("fanout", *arguments, environment=environment)
    try:
        program.wait_until_ready()
        yield program
        if program.process.poll() is None:
            program.stop()
    finally:
        if program.process.poll() is None:
            program.kill()


def started(*module: str, environment: Mapping[str, str] | None = None, is_apart: bool = False) -> Program:
    """`python -m MODULE ARGUMENTS`, which may not be ready yet. The calling code has to end it.

    is_apart: it does not inherit this process's environment, and gets no signals from its terminal.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**({} if is_apart else os.environ), **(environment or {})},
        process_group=0 if is_apart else None,
    )
    try:
        return Program(process)
    except BaseException:  # no thread could be started to read what it says
        process.kill()
        process.wait()
        raise
