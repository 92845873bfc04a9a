"""A machine of its own for a run: network and processes, which the kernel ends, whatever happens.

`run_inside` starts a module as the first process of new namespaces. So fixed addresses and ports are free
there, and none of them is the port of an outgoing connection of this machine. When the first process ends,
the kernel kills all others and drops the network. It ends with the process outside, even after `kill -9`.

    def main() -> int:
        if is_inside():
            return test_the_balancer()
        code = run_inside("tests.deploy.balancers", sys.argv[1:])
        return 1 if code is None else code
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.lacking import AS_ROOT, reason

_INSIDE: Final = "FANOUT_TESTS_INSIDE_NAMESPACE"
_ROOT: Final = Path(__file__).parents[3]
_UNSHARE: Final = ("unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child")
_PREFIX: Final = ("setpriv", "--pdeathsig", "KILL", *_UNSHARE)


def why_not(*programs: str) -> str | None:
    """Why no run with these programs is possible here, or `None`."""
    for program in ("unshare", "setpriv", "ip", *programs):
        if shutil.which(program) is None:
            return reason(program)
    if os.geteuid() != 0:
        return reason("root", AS_ROOT)
    done = subprocess.run([*_PREFIX, "true"], capture_output=True, text=True, check=False)
    return f"no namespaces: {done.stderr.strip()}" if done.returncode else None


def is_inside() -> bool:
    """Whether this process was started by `run_inside`."""
    return _INSIDE in os.environ


def add_addresses(*addresses: str) -> None:
    """Give this namespace's loopback device these addresses. Only inside."""
    assert is_inside()
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in addresses:
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)


def run_inside(module: str, arguments: Sequence[str]) -> int | None:
    """Run `python -m MODULE ARGUMENTS` inside, with this process's streams, and return its exit code.

    `None` after SIGINT or SIGTERM, which end all that runs inside at once. Its temporary files go with it.
    Call it in the main thread of a program that does nothing else.
    """
    process: subprocess.Popen[bytes] | None = None
    is_stopped = False

    def stop(*_: object) -> None:
        nonlocal is_stopped
        is_stopped = True
        if process is not None:
            _end(process)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with tempfile.TemporaryDirectory(prefix="fanout-fleet-") as folder:
        Path(folder).chmod(0o755)  # a balancer may give up root before it reads its files
        process = subprocess.Popen(
            [*_PREFIX, sys.executable, "-m", module, *arguments],
            env={**os.environ, _INSIDE: "yes", "TMPDIR": folder},
            cwd=_ROOT,
            process_group=0,  # Ctrl-C is for this process, which ends the other one
        )
        if is_stopped:
            _end(process)
        code = process.wait()
    return None if is_stopped else code


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the first process inside: `unshare` ends after it, and so after all others."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with suppress(OSError):
        for pid in children.read_text().split() or [f"{process.pid}"]:
            os.kill(int(pid), signal.SIGKILL)
