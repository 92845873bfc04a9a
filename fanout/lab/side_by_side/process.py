"""A process of its own for what must not meet this one's event loop: values in, values out, as lines of JSON.

Rule 1: standard output belongs to the values. Whatever else is printed goes to standard error.
Rule 2: the process ends when its parent does, even if it no longer gives the event loop back.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, NoReturn

_END: Final = b"end"
_STARTS_WITHIN_S: Final = 300.0  # imports, on a machine that is busy with other things
_STARTS_IN_S: Final = 30.0  # of processor time


class Patience(NamedTuple):
    """From one value to the next, in seconds. A busy machine changes no verdict: what spins is ended by its
    own processor time, and only what sleeps by the clock.
    """

    spins: float
    sleeps: float


PATIENT: Final = Patience(spins=30, sleeps=300)


class EndedEarly(Exception):
    """The process gave no more values. The text says why, in a few words."""


def values_from(module: str, request: object, patience: Patience = PATIENT) -> Iterator[Any]:
    """Start `python -m MODULE` with this request. Its values, as they come. Raises `EndedEarly`."""
    # -P: what lies in the current folder is not taken for a library
    command = [sys.executable, "-P", "-m", module, json.dumps(request), str(patience.spins)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = b""
    within_s = _STARTS_WITHIN_S
    try:
        while select.select([process.stdout], [], [], within_s)[0]:
            within_s = patience.sleeps
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                if process.wait() == 0 and line == _END:
                    return
                if process.returncode == -signal.SIGPROF:
                    break
                if process.returncode == -signal.SIGINT:  # Ctrl-C of a terminal, which ends this process too
                    raise KeyboardInterrupt
                raise EndedEarly(f"ends the process ({process.returncode})")
            *lines, line = (line + chunk).split(b"\n")
            yield from map(json.loads, lines)
        raise EndedEarly("never returns")
    finally:
        process.kill()
        process.communicate()


def answer(function: Callable[[Any], Iterable[object]]) -> None:
    """In that process: give what `function` yields for the request to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with os.fdopen(os.dup(1), "w") as out:  # Rule 1
        os.dup2(2, 1)
        parent = os.dup(0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        threading.Thread(target=_end_with_parent, args=[parent], daemon=True).start()
        signal.setitimer(signal.ITIMER_PROF, _STARTS_IN_S)
        for value in function(json.loads(sys.argv[1])):
            signal.setitimer(signal.ITIMER_PROF, float(sys.argv[2]))
            out.write(json.dumps(value) + "\n")
            out.flush()
        out.write(_END.decode())
        out.flush()
    os._exit(0)  # whatever a reader's code has left running


def _end_with_parent(parent: int) -> NoReturn:
    os.read(parent, 1)  # nothing is ever written: it ends with the parent
    os._exit(1)
