"""Accept all waiting connections, up to a bound per event-loop iteration, whatever error accept(2) returns.

`trio.serve_listeners` accepts one connection per iteration. With iterations of 2 ms that is 500 per second,
and the kernel's queue overflows while the event loop is busy. An error that it does not know ends it, and the
server with it.

Rule 1: no exception of one connection ends the accepting.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Final

import trio

_MAX_PER_ITERATION: Final = 64  # then the accepted connections get a turn
_PAUSE_S: Final = 0.1  # when no connection can be accepted: usually no descriptor or no memory is left

Begin = Callable[[socket.socket], object]
_log: Final = logging.getLogger(__name__)


async def accept_connections(listener: socket.socket, begin: Begin) -> None:
    """Accept until cancelled. `listener` is non-blocking, and is closed at the end.

    begin: takes over an accepted socket; when it raises, the socket is closed.
    """
    is_failing = False
    with listener:
        while True:
            try:
                await trio.lowlevel.wait_readable(listener)
                accept_waiting(listener, begin)
            except Exception as error:  # noqa: BLE001 - Rule 1
                if not is_failing:
                    is_failing = True
                    _log.error("no connection can be accepted, trying again every 100 ms: %r", error)
                await trio.sleep(_PAUSE_S)
            else:
                is_failing = False


def accept_waiting(listener: socket.socket, begin: Begin) -> int:
    """Accept the waiting connections, without waiting, and return how many there were.

    Raises the exception of accept(2) or `begin` if not even one connection could begin.
    """
    begun = 0
    for _ in range(_MAX_PER_ITERATION):
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            break
        except Exception:
            if not begun:
                raise
            break
        try:
            sock.setblocking(False)
            begin(sock)
        except BaseException:
            sock.close()
            raise
        begun += 1
    return begun
