"""The phases that a call passes through.

A function in `request.extensions["fanout.phase"]` is called as each phase begins. It reads its own clock. An
exception in it is a bug: it ends the call, and the connection is closed unless it was `KEPT`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

EXTENSION: Final = "fanout.phase"


class Phase(StrEnum):
    """In order: `CONNECT`, for https `TLS`, or else `REUSED`; then `WAIT`, `RECEIVE`, `DONE`, `KEPT`.

    `wait` and `receive` are the words of HAR, in which browsers save their network log. HAR's `send` has no
    phase of its own here: the kernel takes a whole request at once.

    `RETRY` stands between a reused connection that turned out to be dead and `CONNECT`. A call
    that fails or is cancelled has no further phase.
    """

    REUSED = "reused"  # an idle connection was taken
    CONNECT = "connect"  # a new connection is needed: its name, then its address
    TLS = "tls"  # connected; the handshake begins
    WAIT = "wait"  # the request is written, then the answer's first byte is waited for
    RECEIVE = "receive"  # the first bytes of the answer have arrived
    DONE = "done"  # the answer is complete
    KEPT = "kept"  # the connection is idle again; without this it was closed
    RETRY = "retry"  # the reused connection was dead: once more, on a new one


PhaseHook = Callable[[Phase], object]


def ignore_phase(phase: Phase) -> None:
    """The hook of a call that is not traced."""
