"""Opens a connected wire to an origin: it tries the addresses (happy eyeballs) and does the TLS handshake.

Rule: however this ends, also by `Cancelled`, no wire stays open but the returned one.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import trio

from fanout.loop.stream import SocketStream, reset_on_close
from fanout.upstream.addresses import HEAD_START_S, Attempt
from fanout.upstream.messages import Origin
from fanout.upstream.phases import Phase, PhaseHook
from fanout.upstream.resolver import Resolver
from fanout.upstream.tls import TlsSessions, TlsWire
from fanout.upstream.wire import Address, Wire

# A link that goes silent reports nothing. The kernel's probes find an idle connection dead within 8 s.
_KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
_OPTIONS: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # not every system has all of these names
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), n)
        for name, n in _KEEP_ALIVE.items()
        if hasattr(socket, name)
    ),
)
_REACHABLE_WITHIN_S: Final = 5
_CONNECTING: Final = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})

Dial = Callable[[Address], Awaitable[Wire]]


class Connector:
    """Opens wires. The simulation replaces `dial`, which is below happy eyeballs and TLS."""

    def __init__(self, resolver: Resolver, context: ssl.SSLContext, dial: Dial) -> None:
        self._resolver = resolver
        self._sessions = TlsSessions(context)
        self._dial = dial

    async def open(self, origin: Origin, on_phase: PhaseHook) -> Wire:
        """A connected wire to `origin`. Raises `httpx.ConnectError`."""
        on_phase(Phase.CONNECT)
        addresses = await self._resolver.addresses(origin.host, origin.port)
        attempts: list[Attempt] = []
        wire: Wire | None = None
        try:
            try:
                wire = await first_to_connect(addresses, self._dial, attempts)
            finally:  # also when it is cancelled
                self._resolver.learn(origin.host, origin.port, attempts)
            if origin.scheme == "https":
                on_phase(Phase.TLS)
                wire = TlsWire(wire, self._sessions, origin)
                await wire.handshake()
        except OSError as error:
            _abort(wire)
            raise httpx.ConnectError(f"{origin}: {error}") from error
        except BaseException:
            _abort(wire)
            raise
        return wire


def _abort(wire: Wire | None) -> None:
    if wire is not None:
        wire.abort()


async def first_to_connect(addresses: Sequence[Address], dial: Dial, attempts: list[Attempt]) -> Wire:
    """The first wire to connect.

    An address has a head start of 250 ms over the next one. If it fails, the next one begins at once.
    Raises the first `OSError` when all have failed. attempts: this adds one for each address that it tries,
    also when it raises, but none for a single address: there is no order to learn.
    """
    if len(addresses) == 1:
        return await dial(addresses[0])
    connected: list[Wire] = []
    errors: list[OSError] = []

    async def try_one(attempt: Attempt, is_over: trio.Event) -> None:  # noqa: ASYNC910 - dial waits or fails
        try:
            wire = await dial(attempt.address)
        except OSError as error:
            attempt.failed = True
            errors.append(error)
            is_over.set()
        else:
            connected.append(wire)
            attempt.connected = True
            nursery.cancel_scope.cancel(reason="another address connected first")

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                attempt, failed = Attempt(address, trio.current_time()), trio.Event()
                attempts.append(attempt)
                nursery.start_soon(try_one, attempt, failed, name=f"connect to {address[1][0]}")
                with trio.move_on_after(HEAD_START_S):
                    await failed.wait()
        if not connected:
            raise errors[0]
    except BaseException:
        for wire in connected:
            wire.abort()
        raise
    finally:
        errors.clear()  # each refers to a frame that refers to it: a cycle
    for wire in connected[1:]:  # two may connect in the same event-loop iteration
        wire.abort()
    return connected[0]


async def dial(address: Address) -> Wire:  # noqa: ASYNC910 - the next step waits for the answer
    """Connect to one address. However this ends, no socket stays open but the returned one.

    Raises `OSError`.
    """
    family, where = address
    connecting = socket.SocketType(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        for option in _OPTIONS:
            connecting.setsockopt(*option)
        if not _is_connected(connecting, where) and not _is_connected(connecting, where):
            await trio.lowlevel.wait_writable(connecting)
            _raise_if(connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), where)
        wire = SocketStream(connecting)
        # An upstream may answer and close in one packet, so its end must not wait behind other disconnects.
        wire.watch(at_once=True)
        return wire  # noqa: ASYNC910 - as above
    except BaseException:
        reset_on_close(connecting)
        with suppress(OSError):
            connecting.close()
        raise


def _is_connected(connecting: socket.SocketType, where: tuple[Any, ...]) -> bool:
    """Begin to connect, or check whether the connection is established.

    An upstream on this host (such as a sidecar) has accepted by the second check, which saves an event-loop
    iteration.
    """
    error = connecting.connect_ex(where)
    if error in _CONNECTING:
        return False
    _raise_if(error, where)
    return True


def _raise_if(error: int, where: tuple[Any, ...]) -> None:
    if error:
        raise OSError(error, f"{os.strerror(error)} ({where[0]} port {where[1]})")


async def why_unreachable(url: str) -> str | None:
    """Why no connection to `url`'s host can be made, in a few words; `None` if one was made.

    For the start of the service, so that a wrong address gives one clear line, and never for `/readyz`. It
    only connects and sends no request. It never raises: any error is the answer.
    """
    await trio.lowlevel.checkpoint()
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with trio.fail_after(_REACHABLE_WITHIN_S):
            stream = await trio.open_tcp_stream(parts.hostname or "", port)
    except trio.TooSlowError:
        return f"no connection within {_REACHABLE_WITHIN_S} s"
    except Exception as error:  # noqa: BLE001 - no such name, no IDNA name, no thread, no memory
        return _in_words(error)
    with suppress(OSError):
        stream.socket.close()
    return None


def _in_words(error: BaseException) -> str:
    cause = error
    while cause.__cause__ is not None or isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno).lower()
    return str(getattr(cause, "strerror", None) or cause).lower() or type(cause).__name__
