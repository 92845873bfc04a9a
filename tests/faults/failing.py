"""How each system call can fail, by its man page, when the machine or the network has nothing left to give.

`EMFILE` and `ENFILE`: no descriptor. `ENOBUFS`, `ENOMEM`, `ENOSPC`: no memory in the kernel. `MemoryError`:
none in the process. The others are the network's, and a connection that has one is broken.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Final

from tests.faults.calls import Calls, Point
from tests.faults.situations import Situation
from tests.faults.stage import Stage
from tests.faults.sweep import Fault, Net

_RECEIVED: Final = (
    "ENOBUFS",
    "ENOMEM",
    "ETIMEDOUT",
    "EHOSTUNREACH",
)  # recv(2), tcp(7), ip(7)
_SENT: Final = ("EPIPE", *_RECEIVED)  # send(2)
_CONNECTED: Final = ("ENOBUFS", "ENOMEM", "ETIMEDOUT", "EHOSTUNREACH")  # connect(2); EADDRNOTAVAIL below
_WATCHED: Final = ("ENOMEM", "ENOSPC")  # epoll_ctl(2): no memory; max_user_watches

ERRORS: Final[dict[str, tuple[str, ...]]] = {
    # accept(2): and it "passes already-pending network errors on the new socket as an error code"
    "socket._accept": (
        *("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ECONNABORTED", "EPROTO", "EHOSTUNREACH", "ETIMEDOUT"),
    ),
    "posix.read": _RECEIVED,
    "socket.recv": _RECEIVED,
    "socket.recv_into": _RECEIVED,
    "posix.write": _SENT,
    "socket.send": _SENT,
    "socket.sendmsg": _SENT,
    "socket.connect": (*_CONNECTED, "EADDRNOTAVAIL"),
    "socket.connect_ex": (
        *_CONNECTED,
        "EADDRNOTAVAIL",
    ),  # returned; raised here
    "socket.setsockopt": (
        "ENOMEM",
        "ENOBUFS",
        "EINVAL",
    ),  # EINVAL: after a reset, on some systems
    "socket.getsockopt": ("ENOBUFS",),
    "socket.getpeername": ("ENOBUFS", "ENOTCONN"),
    "socket.getsockname": ("ENOBUFS",),
    "socket.shutdown": ("ENOBUFS", "ENOTCONN"),
    "epoll.register": _WATCHED,
    "epoll.modify": ("ENOMEM",),
    "epoll.unregister": ("ENOMEM",),
    "poll.poll": ("ENOMEM",),
}
THREADS: Final = ("_thread.start_new_thread", "_thread.start_joinable_thread")
# `MemoryError`: of those that give back more than nothing or a small number.
ALLOCATING: Final = {
    *("socket._accept", "posix.read", "socket.recv", "posix.write", "socket.send", "poll.poll"),
    *("socket.getpeername", "socket.getsockname", "socket.getsockopt"),
    *("_SSLSocket.do_handshake", "_SSLSocket.read", "_SSLSocket.write"),
}
# Left out: the wait of the loop itself, and closing, which has done its work whatever it says.
_NETWORK: Final = {
    "EPIPE",
    "ECONNABORTED",
    "EPROTO",
    "EHOSTUNREACH",
    "ETIMEDOUT",
    "EADDRNOTAVAIL",
    "ENOTCONN",
}


def failures(situation: Situation, points: list[Point]) -> Iterator[Fault]:
    """Each call of the situation, failing in each way that it can."""
    for at, point in enumerate(points, 1):
        for name in ERRORS.get(point.name, ()):
            yield _failure(name, at, OSError(getattr(errno, name), f"injected {name}"))
        if point.name in THREADS:
            yield _failure("RuntimeError", at, RuntimeError("can't start new thread"))
        if point.name in ALLOCATING:
            yield _failure("MemoryError", at, MemoryError("injected"))


def _failure(name: str, at: int, error: Exception) -> Fault:
    def do(stage: Stage) -> Exception:
        return error

    return Fault(
        name,
        at,
        do,
        wait_s=(1.0, 30.0, 75.0),  # no descriptor: a rest; the longest race; an app that does not return
        client_lives=True,
        allowed=frozenset({500, 503}),
        may_end=True,
        is_a_bug=name not in _NETWORK,
    )


FAILURES: Final = Net(failures, Calls)
