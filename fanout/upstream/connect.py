"""Opens a connected wire to an origin: it tries the addresses (happy eyeballs) and does the TLS handshake.

Rule 1: however this ends, also by `Cancelled`, no wire stays open but the returned one.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence

import httpx
import trio

from fanout.upstream.addresses import HEAD_START_S, Attempt
from fanout.upstream.origin import Origin
from fanout.upstream.phases import Phase, PhaseHook
from fanout.upstream.resolver import Resolver
from fanout.upstream.tls import TlsSessions
from fanout.upstream.tls_wire import TlsWire
from fanout.upstream.wire import Address, Wire

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
        wire = await self._dial_any(origin, addresses)
        if origin.scheme != "https":
            return wire
        try:
            on_phase(Phase.TLS)
            wire = TlsWire(wire, self._sessions, origin)
            await wire.handshake()
        except BaseException as error:
            wire.abort()
            if isinstance(error, OSError | ValueError):
                raise httpx.ConnectError(f"{origin}: {error}") from error
            raise
        return wire

    async def _dial_any(self, origin: Origin, addresses: Sequence[Address]) -> Wire:
        """Dial, and learn about the addresses from the attempts, also when it is cancelled."""
        attempts: list[Attempt] = []
        wire: Wire | None = None
        try:
            try:
                wire = await first_to_connect(addresses, self._dial, attempts)
            except OSError as error:
                raise httpx.ConnectError(f"{origin}: {error}") from error
            finally:
                self._resolver.learn(origin.host, origin.port, attempts)
        except BaseException:
            if wire is not None:
                wire.abort()
            raise
        return wire


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
