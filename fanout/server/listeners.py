"""Listening sockets, opened before anything else starts, so that a port in use is one clear line."""

from __future__ import annotations

import errno
import socket
from typing import Final

from fanout.config import Bind

BACKLOG: Final = 4096  # Linux's default somaxconn; the kernel lowers it to what it allows
# IPv6 is off, say, and `localhost` has an address of it.
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class ListenError(Exception):
    """A listener could not be opened. The message is one line and says what to do."""


def open_listeners(bind: Bind, variable: str) -> list[socket.socket]:
    """Bind and listen on every address that `bind` names, or raise `ListenError` and leave none open.

    Of a name with several addresses, those that this machine does not have are skipped.
    """
    try:
        found = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ListenError(
            f"{variable}={bind}: cannot resolve the host: {_why(error)}. Use an address"
        ) from None
    opened: list[socket.socket] = []
    skipped: list[ListenError] = []
    for family, _, _, _, address in dict.fromkeys(found):
        if bind.port == 0 and opened:
            break  # any free port: one address is enough, and another would get another port
        try:
            opened.append(_listen(family, address))
        except OSError as error:
            failure = _failure(bind, variable, address, error)
            if error.errno not in _NOT_HERE:
                for sock in opened:
                    sock.close()
                raise failure from None
            skipped.append(failure)
    if not opened:
        raise skipped[0]
    return opened


def _listen(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _failure(bind: Bind, variable: str, address: tuple[object, ...], error: OSError) -> ListenError:
    """address: of the socket; named if `bind` has only its name."""
    where = Bind(str(address[0]), bind.port)
    on = "" if where == bind else f" on {where}"
    return ListenError(f"{variable}={bind}: cannot listen{on}: {_why(error)}. {_fix(error, variable)}")


def _why(error: OSError | UnicodeError) -> str:
    """In a few words."""
    if isinstance(error, UnicodeError):
        return "it is no name"
    return str(error.strerror or error).lower()


def _fix(error: OSError, variable: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Stop the program that uses the port, or set {variable} to another one (port 0: any free one)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Ports below 1024 need a privilege: set {variable} to a higher one"
    return f"Set {variable} to an address of this machine"
