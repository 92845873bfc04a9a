"""The parts of experiments in virtual time. They have a process of their own, which breakages apply to, too.

`python -m fanout.lab.virtual` is that process. Each line of its input is `MODULE:FUNCTION`. FUNCTION takes
nothing and returns a `Report`, which is printed as one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence

from loguru import logger

from fanout.lab.report import Report


class VirtualPartCrashed(RuntimeError):
    """The process ended with a traceback, which is the message, and with this exit code."""

    def __init__(self, why: str, exit_code: int) -> None:
        super().__init__(why)
        self.exit_code = exit_code


class VirtualTime:
    """The process. It has to be killed."""

    def __init__(self, before: Sequence[str] = ()) -> None:
        """before: a module, with its arguments, that runs the module behind it. Raises `OSError`."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", *before, "fanout.lab.virtual"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for the lab
        )

    def report_of(self, function: Callable[[], Report]) -> Report:
        """The report of a function that runs there. Blocks. Raises `VirtualPartCrashed`."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        place = f"{function.__module__}:{function.__qualname__}"
        try:
            process.stdin.write(f"{place}\n".encode())
            process.stdin.flush()
            said = process.stdout.readline()
        except BrokenPipeError:
            said = b""
        if not said:
            raise VirtualPartCrashed(process.stderr.read().decode(errors="replace"), process.wait())
        return Report.from_json(json.loads(said))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def main() -> None:
    logger.remove()  # what the leak check finds is in the report
    for line in sys.stdin:
        module, _, function = line.strip().partition(":")
        report = getattr(importlib.import_module(module), function)()
        assert isinstance(report, Report)
        sys.stdout.write(json.dumps(report.to_json()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
