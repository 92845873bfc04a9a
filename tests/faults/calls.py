"""Every system call that the server makes, as a point where something can happen: the seam of both nets.

Python itself reports each call of a C function to a profile function before it is made. So no name is
replaced: whether the server writes by `os.write`, by `socket.send` or through Trio, the call is seen. What
the profile function raises is raised instead of the call, which is not made.

The points are enough for what a peer does: between two of them the server asks the kernel nothing, so it
cannot matter when exactly it happens. The moment between a timeout and the turn of its task, say, is the
point of the first call that the task makes. What the test's own clients and upstreams do (`peers.py`) is no
point.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

_SOCKET: Final = (
    *("_accept", "recv", "recv_into", "send", "sendmsg", "shutdown", "connect", "connect_ex", "close"),
    *("setsockopt", "getsockopt", "getpeername", "getsockname"),
)
NAMES: Final = frozenset(
    {
        *("posix.read", "posix.write", "poll.poll"),
        *(f"socket.{name}" for name in _SOCKET),
        *(f"epoll.{name}" for name in ("poll", "register", "modify", "unregister")),
        *(f"_SSLSocket.{name}" for name in ("do_handshake", "read", "write", "shutdown")),
        *("_thread.start_new_thread", "_thread.start_joinable_thread"),
    }
)
_SHORT_NAMES: Final = frozenset(name.partition(".")[2] for name in NAMES)
_PEERS: Final = str(Path(__file__).with_name("peers.py"))
_WAKE_UP: Final = "_wakeup_socketpair.py"  # Trio's own, for signals and threads


@dataclass(frozen=True, slots=True)
class Point:
    """A call about to be made. name: as in `NAMES`. where: the file and the line that make it."""

    name: str
    where: str

    def __str__(self) -> str:
        return f"before {self.name} ({self.where})"


Act = Callable[[int, Point], BaseException | None]


class Calls:
    """While it is entered: numbers the points, from 1, and calls `act` at each.

    act: what it returns is raised instead of the call. After that there are no more points.
    """

    def __init__(self, act: Act) -> None:
        self._act = act
        self._reached = 0

    def __enter__(self) -> Calls:
        sys.setprofile(self._profile)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call" or function.__name__ not in _SHORT_NAMES:
            return
        name = _name(function)
        if name not in NAMES or _is_the_tests_own(frame):
            return
        self._reached += 1
        point = Point(name, f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        error = self._act(self._reached, point)
        if error is not None:
            raise error


def _name(function: Any) -> str:
    """`posix.read` for a function of a module, `socket.recv` for a method, whatever the subclass."""
    qualified: str = function.__qualname__
    return qualified if "." in qualified else f"{getattr(function.__self__, '__name__', '')}.{qualified}"


def _is_the_tests_own(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_name != "unrolled_run":
        if frame.f_code.co_filename == _PEERS or frame.f_code.co_filename.endswith(_WAKE_UP):
            return True
        frame = frame.f_back
    return False
