"""The processes of a run, each in its namespace: servers, upstreams, clients."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trio

from fanout.testing import Program
from tests.chaos.clients import Lost, Told
from tests.chaos.namespaces import within

_ROOT: Final = Path(__file__).parents[2]
READY_WITHIN_S: Final = 120  # five programs start at once, beside whatever else the machine does
QUIT_WITHIN_S: Final = 60


def start_fanout(namespace: str, *arguments: str) -> Program:
    """`fanout ARGUMENTS`, ready. Ctrl-C at this terminal is not its concern."""
    process = subprocess.Popen(
        [*within(namespace), sys.executable, "-m", "fanout", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        cwd=_ROOT,
    )
    program = Program(process)
    program.wait_until_ready(READY_WITHIN_S)
    return program


class ClientProcess:
    """`tests.chaos.clients`, one process."""

    def __init__(self, namespace: str, url: str, seed: int, rate_per_s: float) -> None:
        self._process = subprocess.Popen(
            [
                *within(namespace),
                sys.executable,
                "-m",
                "tests.chaos.clients",
                url,
                f"{seed}",
                f"{rate_per_s}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
            cwd=_ROOT,
        )

    def finish(self) -> Told:
        output, _ = self._process.communicate(timeout=QUIT_WITHIN_S)
        told = json.loads(output)
        return Told(**{**told, "lost": [Lost(**each) for each in told["lost"]]})

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def children_of(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def resident_mib(pid: int) -> float:
    """0 for a process that has ended."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2
    return 0.0


def waited_s(pid: int) -> float:
    """How long its event loop was ready to run and had no processor; 0 where the kernel does not count."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    return 0.0


def descriptors(pid: int) -> int:
    """0 for a process that has ended."""
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def end(programs: Sequence[Program]) -> None:
    """Whatever state they are in: stopped, dead, or with workers."""
    for program in programs:
        for pid in [*children_of(program.process.pid), program.process.pid]:
            if program.process.poll() is None:
                send(pid, signal.SIGKILL)
        program.kill()


async def read_json(namespace: str, *urls: str) -> list[Any]:
    """What is answered within that namespace; `None` for who does not answer."""
    code = (
        "import json, sys, urllib.request\n"
        "def read(url):\n"
        "    try: return json.load(urllib.request.urlopen(url, timeout=2))\n"
        "    except OSError: return None\n"
        "print(json.dumps([read(url) for url in sys.argv[1:]]))"
    )
    command = [*within(namespace), sys.executable, "-c", code, *urls]
    done = await trio.run_process(command, capture_stdout=True)
    found: list[Any] = json.loads(done.stdout)
    return found
