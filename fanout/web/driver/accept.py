"""Accepting every connection that waits, not one a pass.

`trio.serve_listeners` accepts one connection a pass of the loop: with a pass of 2 ms that is 500 a second,
and the kernel's queue overflows while the loop is busy. So the connection that was accepted pulls the others
that wait beside it. Listeners that are `dup`ed do the same, but each new connection wakes all of them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

import trio

_MAX_A_PASS: Final = 64  # then those that were accepted get a turn


def accept_waiting(listeners: Iterable[socket.socket]) -> list[trio.SocketStream]:
    """Accept, without waiting, what waits on listeners that are non-blocking and may be closed already."""
    accepted: list[trio.SocketStream] = []
    for listener in listeners:
        try:
            while len(accepted) < _MAX_A_PASS:
                sock, _ = listener.accept()
                accepted.append(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
        except OSError:
            continue  # nobody waits; or no descriptor is left, which `serve_listeners` sees and logs
    return accepted
